//! A result of a size that Ansible carries well: each goes through callbacks, registered variables and databases.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Bytes of the line of output.
const LARGEST: usize = 90_000;
/// So many entries of a list, or a hundred times as many characters of a text, are shown at most, the first number
/// that makes the result small enough. Lists of dicts are what a playbook works with: they are cut last.
const STEPS: [(usize, bool); 11] = [
    (1000, false),
    (500, false),
    (200, false),
    (100, false),
    (50, false),
    (20, false),
    (10, false),
    (100, true),
    (30, true),
    (10, true),
    (3, true),
];

/// Cuts what is longest, and says so among the warnings.
pub fn bound(result: Value) -> Value {
    let mut bounded = result;
    if size(&bounded) <= LARGEST {
        return bounded;
    }
    let whole = bounded.clone();
    for (most, with_dicts) in STEPS {
        bounded = whole.clone();
        let mut cut = Cut { most, with_dicts, told: BTreeMap::new() };
        cut.shorten("", &mut bounded);
        let told: Vec<String> = cut.told.into_values().collect();
        let warning = format!("the result was too large, and is cut: {}", told.join("; "));
        match bounded.get_mut("warnings").and_then(Value::as_array_mut) {
            Some(warnings) => warnings.push(json!(warning)),
            None => bounded["warnings"] = json!([warning]),
        }
        if size(&bounded) <= LARGEST {
            break;
        }
    }
    bounded
}

/// Of the value as ASCII: what is not takes an escape of six characters, or two of them.
fn size(value: &Value) -> usize {
    value.to_string().chars().map(|c| if c.is_ascii() { 1 } else { 6 * c.len_utf16() }).sum()
}

struct Cut {
    most: usize,
    with_dicts: bool,
    /// What was cut, by its key; entries of a list of dicts are told as one.
    told: BTreeMap<String, String>,
}

impl Cut {
    fn shorten(&mut self, key: &str, value: &mut Value) {
        let below = |name: &str| if key.is_empty() { name.to_string() } else { format!("{key}.{name}") };
        match value {
            Value::Object(map) => map.iter_mut().for_each(|(name, part)| self.shorten(&below(name), part)),
            Value::Array(items) => {
                let may_be_cut = self.with_dicts || !items.iter().any(Value::is_object);
                if may_be_cut && items.len() > self.most {
                    self.tell(key, items.len(), self.most, "entries");
                    items.truncate(self.most);
                }
                items.iter_mut().for_each(|item| self.shorten(key, item));
            }
            Value::String(text) => {
                let (count, most) = (text.chars().count(), self.most * 100);
                if count > most {
                    self.tell(key, count, most, "characters");
                    // How a message ends is what to do.
                    let head: String = text.chars().take(most / 2).collect();
                    let tail: String = text.chars().skip(count - most / 2).collect();
                    *text = format!("{head} … {tail}");
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn tell(&mut self, key: &str, count: usize, shown: usize, of_what: &str) {
        let words = format!("`{key}` shows {shown} of {count} {of_what}");
        self.told.entry(key.to_string()).or_insert(words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings(result: &Value) -> Vec<&str> {
        result["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    #[test]
    fn a_usual_result_stays_as_it_is() {
        let result =
            json!({"changed": true, "backup": {"keyspaces": vec!["ks"; 2000]}, "msg": "m".repeat(50_000)});
        assert_eq!(bound(result.clone()), result);
    }

    #[test]
    fn the_longest_lists_and_texts_are_cut_and_the_end_of_a_message_is_kept() {
        let msg = format!("{}. run again", "reason; ".repeat(20_000));
        let told: Vec<String> = (0..5_000).map(|number| format!("warning {number}")).collect();
        let result = bound(json!({"msg": msg, "warnings": told, "failed": true}));

        assert!(size(&result) <= LARGEST);
        let msg = result["msg"].as_str().unwrap();
        assert!(msg.starts_with("reason; reason") && msg.ends_with("; . run again"), "{msg}");
        assert_eq!(warnings(&result).len(), 501);
        assert_eq!(
            warnings(&result).last().unwrap(),
            &"the result was too large, and is cut: `msg` shows 50000 of 160011 characters; `warnings` shows 500 of 5000 \
              entries"
        );
    }

    #[test]
    fn dicts_keep_their_number_while_their_own_lists_can_be_cut() {
        let backup = json!({"tag": "t", "keyspaces": vec!["k".repeat(48); 2_000]});
        let result = bound(json!({"backups": vec![backup; 100]}));

        assert!(size(&result) <= LARGEST);
        assert_eq!(result["backups"].as_array().unwrap().len(), 100);
        assert_eq!(
            warnings(&result),
            ["the result was too large, and is cut: `backups.keyspaces` shows 10 of 2000 entries"]
        );
    }

    #[test]
    fn what_is_not_ascii_counts_as_its_escapes_and_dicts_are_cut_in_the_end() {
        let step = json!({"name": "ü".repeat(100)});
        let result = bound(json!({"steps": vec![step; 1_000]}));

        assert!(size(&result) <= LARGEST);
        assert_eq!(result["steps"].as_array().unwrap().len(), 100);
        assert_eq!(
            warnings(&result),
            ["the result was too large, and is cut: `steps` shows 100 of 1000 entries"]
        );
    }
}
