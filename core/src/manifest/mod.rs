//! Kubernetes manifests: reads streams of YAML or JSON and the Secrets in them, and writes
//! SealedSecrets that readers of YAML 1.1 and 1.2 understand alike.

mod document;
mod edit;
mod emit;
mod fields;
mod list;
mod located;
mod loose;
pub mod merge;
mod secret;

pub use document::{Document, Foreign, INPUT_BYTES, ReadError, read_documents, read_value};
pub use edit::{Edited, LayoutError, SealedEdit, document_ranges, edit_sealed};
pub use emit::{to_go_json, to_json, to_yaml, to_yaml_for_people, to_yaml_in_blocks};
pub use fields::with_template_text;
pub use list::add_to_json;
pub use located::{Content, Located, Node, Place, Scalar, read_located};
pub use loose::{edit_loose, loose_envelopes};
pub use secret::{SCOPE_ANNOTATION, SecretManifest, SecretManifestError, wipe};
