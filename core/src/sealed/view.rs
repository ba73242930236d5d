//! A lenient view of a SealedSecret in a file, for code that compares, lists or reports and must
//! not stop at a broken part. Nothing is checked here: [`super::SealedObject::parse`] does that.

use serde_json::{Map, Value};

/// The parts of a SealedSecret, as far as they have the expected form.
#[derive(Clone, Copy, Debug)]
pub struct SealedView<'a> {
    spec: Option<&'a Map<String, Value>>,
}

impl<'a> SealedView<'a> {
    /// A view of the whole object.
    pub fn of(object: &'a Value) -> Self {
        Self {
            spec: object.get("spec").and_then(Value::as_object),
        }
    }

    fn part(self, name: &str) -> Option<&'a Value> {
        self.spec?.get(name)
    }

    /// `spec.scope`, whatever it is.
    pub fn scope(self) -> Option<&'a Value> {
        self.part("scope")
    }

    /// `spec.template`, whatever it is.
    pub fn template(self) -> Option<&'a Value> {
        self.part("template")
    }

    /// `spec.template.data`, whatever it is.
    pub fn template_data(self) -> Option<&'a Value> {
        self.template()?.get("data")
    }

    /// `spec.target`, whatever it is.
    pub fn target(self) -> Option<&'a Value> {
        self.part("target")
    }

    /// `spec.encryptedData`, whatever it is.
    pub fn encrypted_data(self) -> Option<&'a Value> {
        self.part("encryptedData")
    }

    /// `spec.envelopes`, whatever it is.
    pub fn envelopes_section(self) -> Option<&'a Value> {
        self.part("envelopes")
    }

    /// The values that are texts, by key.
    pub fn values(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let entries = self.encrypted_data().and_then(Value::as_object);
        let entries = entries.into_iter().flatten();
        entries.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }

    /// The envelopes by id.
    pub fn envelopes(self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let entries = self.envelopes_section().and_then(Value::as_object);
        let entries = entries.into_iter().flatten();
        entries.map(|(id, envelope)| (id.as_str(), envelope))
    }

    /// The envelope of this id.
    pub fn envelope(self, id: &str) -> Option<&'a Value> {
        self.envelopes_section()?.get(id)
    }
}

/// The age file of an envelope, as it is spelt.
pub fn age_file_text(envelope: &Value) -> Option<&str> {
    envelope.get("ageFile")?.as_str()
}

/// The id of the envelope that the text of a value names.
pub fn envelope_id(value: &str) -> Option<&str> {
    value.split('.').nth(1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_broken_hides_nothing_else() {
        let object = json!({"spec": {
            "scope": 7,
            "encryptedData": {"a": "sk1.dkygiqm6nibo27suvpmyknuwvetd3o33.AB", "b": 1, "c": "odd"},
            "envelopes": {"dkygiqm6nibo27suvpmyknuwvetd3o33": {"ageFile": "AAAA"}, "x": []},
        }});
        let view = SealedView::of(&object);
        let values: Vec<_> = view.values().collect();
        assert_eq!(
            values,
            [
                ("a", "sk1.dkygiqm6nibo27suvpmyknuwvetd3o33.AB"),
                ("c", "odd")
            ]
        );
        assert_eq!(
            envelope_id(values[0].1),
            Some("dkygiqm6nibo27suvpmyknuwvetd3o33")
        );
        assert_eq!(envelope_id(values[1].1), None);
        assert_eq!(view.envelopes().count(), 2);
        let envelope = view.envelope("dkygiqm6nibo27suvpmyknuwvetd3o33").unwrap();
        assert_eq!(age_file_text(envelope), Some("AAAA"));
        assert!(view.target().is_none() && view.scope() == Some(&json!(7)));
        for broken in [
            json!(null),
            json!({"spec": []}),
            json!({"spec": {"envelopes": "x"}}),
        ] {
            let view = SealedView::of(&broken);
            assert_eq!(view.values().count() + view.envelopes().count(), 0);
        }
    }
}
