//! Renders in a real process.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;

use sealkit_controller::render::{Contents, MEMORY, RenderError, render};
use sealkit_core::template::{TemplateErrorKind, limits};

const PROGRAM: &str = env!("CARGO_BIN_EXE_seal-controller");

async fn render_one(
    memory: u64,
    text: &str,
    values: &[(&str, &[u8])],
) -> Result<Contents, RenderError> {
    let texts = BTreeMap::from([("out".to_owned(), text.to_owned())]);
    render(Path::new(PROGRAM), memory, &texts, values).await
}

async fn cause(memory: u64, text: &str) -> TemplateErrorKind {
    let large = "x".repeat(60_000);
    let rendered = render_one(memory, text, &[("V", large.as_bytes())]).await;
    let Err(RenderError::Template(error)) = rendered else {
        panic!("{text}");
    };
    assert_eq!(error.key, "out");
    error.cause
}

#[tokio::test]
async fn a_child_renders_and_refuses_as_the_library_does() {
    let contents = render_one(MEMORY, "a {{ .V }}\n", &[("V", b"value")]).await;
    assert_eq!(*contents.unwrap()["out"], b"a value\n");
    let syntax = cause(MEMORY, "{{ if }}").await;
    assert!(
        matches!(syntax, TemplateErrorKind::Syntax { line: 1, .. }),
        "{syntax:?}"
    );
    assert_eq!(cause(MEMORY, "{{ .W }}").await, TemplateErrorKind::Render);
    let long = "a".repeat(limits::TEXT_BYTES + 1);
    let too_large = TemplateErrorKind::TooLarge("the text has more than 64 KiB".into());
    assert_eq!(cause(MEMORY, &long).await, too_large);
    // The largest answer.
    let value = vec![b'v'; 60_000];
    let text = "{{ .V }}".repeat(17);
    let contents = render_one(MEMORY, &text, &[("V", &value)]).await;
    assert_eq!(contents.unwrap()["out"].len(), 17 * value.len());
}

#[tokio::test]
async fn a_child_that_needs_more_memory_than_it_has_ends_alone() {
    // Ten times what it has; in the limits of a template.
    let declare = |at: usize| format!("{{{{ $v{at} := print .V 1 }}}}");
    let text = (0..120).map(declare).collect::<Vec<_>>().concat();
    assert_eq!(
        cause(4 * 1024 * 1024, &text).await,
        TemplateErrorKind::TooMuchMemory
    );
    assert_eq!(
        render_one(MEMORY, &text, &[("V", &vec![b'x'; 60_000])])
            .await
            .unwrap()["out"]
            .len(),
        0
    );
}

#[tokio::test]
async fn what_is_no_program_is_no_fault_of_the_template() {
    let texts = BTreeMap::from([("out".to_owned(), String::new())]);
    for program in ["/nonexistent", "/bin/false"] {
        let rendered = render(Path::new(program), MEMORY, &texts, &[]).await;
        assert!(matches!(rendered, Err(RenderError::Process)), "{program}");
    }
}
