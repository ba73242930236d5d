//! Does the server answer, and what does it call a key?

use reqwest::StatusCode;

use super::{CODES, Vault, below};
use crate::store::StoreError;

impl Vault {
    /// Does the server answer, and know the token?
    pub async fn check(&self) -> Result<(), StoreError> {
        let url = below(&self.server, ["v1", "auth", "token", "lookup-self"]);
        let answer = self.http.send(self.get(url).await?).await?;
        match answer.status() {
            StatusCode::OK => Ok(()),
            StatusCode::FORBIDDEN => Err(StoreError::Denied(
                "Vault does not know the token, or not any more (403)".to_owned(),
            )),
            _ => Err(self.http.failure("the token", &answer, &CODES)),
        }
    }

    /// The one name of a secret: its path below the mount, or the whole path if the store has no
    /// mount.
    pub fn resolved(&self, key: &str) -> Result<String, StoreError> {
        self.engine.resolved(key)
    }
}
