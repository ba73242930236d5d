//! Envelopes that stand in no SealedSecret that can be read: in templates and values of charts, in
//! patches. An envelope says itself what it is bound to, so it can be sealed anew without its object.

use std::collections::BTreeMap;

use serde_json::Value;

use super::document::read_value;
use super::edit::{Child, LayoutError, indent, replaced, splice};
use crate::sealed::{EnvelopeId, SealedEnvelope};

/// The envelopes of a text that stand in lines of their own, as this program writes them, whatever
/// stands around. One that stands twice is left out, since its copies may differ.
pub fn loose_envelopes(text: &str) -> BTreeMap<EnvelopeId, Value> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut found = BTreeMap::<EnvelopeId, Vec<Value>>::new();
    for (id, child) in places(&lines) {
        let mut read = read_value(&lines[child.lines].concat());
        let entry = read.as_mut().and_then(|read| read.get_mut(id.as_str()));
        found.entry(id).or_default().extend(entry.map(Value::take));
    }
    let mut single = BTreeMap::new();
    for (id, entries) in found {
        if let Ok([entry]) = <[Value; 1]>::try_from(entries) {
            single.insert(id, entry);
        }
    }
    single
}

/// The text with these envelopes in the place of those of the same ids. Errors if they do not read
/// back.
pub fn edit_loose(
    text: &str,
    envelopes: &BTreeMap<EnvelopeId, SealedEnvelope>,
) -> Result<String, LayoutError> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut splices = Vec::new();
    for (id, child) in places(&lines) {
        if let Some(envelope) = envelopes.get(&id) {
            let both = replaced(&lines, &child, envelope, line_end);
            splices.extend(both.ok_or(LayoutError)?);
        }
    }
    let edited = splice("", &lines, splices);
    let read = loose_envelopes(&edited);
    let is_there = |(id, envelope): (&EnvelopeId, &SealedEnvelope)| {
        read.get(id) == serde_json::to_value(envelope).ok().as_ref()
    };
    if envelopes.iter().all(is_there) {
        Ok(edited)
    } else {
        Err(LayoutError)
    }
}

/// The lines of each envelope, with that of its id.
fn places(lines: &[&str]) -> Vec<(EnvelopeId, Child)> {
    let mut places = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let key = line.trim().strip_suffix(':').unwrap_or_default();
        let key = key.trim_matches(['"', '\'']);
        let (Some(depth), Ok(id)) = (indent(line), key.parse::<EnvelopeId>()) else {
            continue;
        };
        let below = &lines[number + 1..];
        let end = below
            .iter()
            .position(|line| indent(line).is_some_and(|it| it <= depth));
        let end = number + 1 + end.unwrap_or(below.len());
        let key = key.to_owned();
        places.push((
            id,
            Child {
                lines: number..end,
                key,
            },
        ));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Identity, KeyRing, KeyType, RecipientSet};
    use crate::manifest::to_yaml;
    use crate::sealed::{Context, Scope, seal, unwrap_envelope};

    #[test]
    fn an_envelope_is_sealed_anew_wherever_its_lines_stand() {
        let [one, two] = [(); 2].map(|()| Identity::generate(KeyType::Classic));
        let values = [("K".to_owned(), b"v".to_vec().into())].into();
        let context = Context::new(Scope::Strict, "shop", "db").unwrap();
        let set = |identity: &Identity| RecipientSet::new([identity.recipient().clone()]).unwrap();
        let sealed = seal(&values, &context, &set(&one), false).unwrap();
        let envelopes = serde_json::json!({"envelopes": {sealed.id.as_str(): sealed.envelope}});
        let yaml = to_yaml(&[envelopes]).unwrap().replace('\n', "\n    ");
        let text = format!(
            "{{{{- if .x }}}}\nkind: SealedSecret\nname: {{{{ .y }}}}\nspec:\n    {}{{{{ end }}}} # kept\n",
            yaml.trim_end_matches(' ')
        );
        for text in [text.clone(), text.replace('\n', "\r\n")] {
            let found = loose_envelopes(&text);
            assert_eq!(found.len(), 1, "{text}");
            let ring = KeyRing::new([one.clone()]).unwrap();
            let unwrapped = unwrap_envelope(sealed.id, &found[&sealed.id], &ring).unwrap();
            let new = [(sealed.id, unwrapped.seal_to(&set(&two)).unwrap())].into();
            let after = edit_loose(&text, &new).unwrap();
            let ring = KeyRing::new([two.clone()]).unwrap();
            let entry = &loose_envelopes(&after)[&sealed.id];
            assert!(unwrap_envelope(sealed.id, entry, &ring).is_ok());
            let changed = text.lines().filter(|line| !after.contains(line));
            assert_eq!(changed.count(), 2, "{after}");
        }
        let twice = format!("{text}{text}");
        assert!(loose_envelopes(&twice).is_empty());
        assert!(loose_envelopes("\"dkygiqm6nibo27suvpmyknuwvetd3o33\": {a: 1}\n").is_empty());
    }
}
