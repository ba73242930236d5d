//! What the logins use of the stores.

pub(super) use crate::secret_store::{StoreName, not_served};
