//! Values as Python's AnsibleModule takes them, in its words: users grep for these.

use serde_json::{Number, Value};

/// A bool from the words and numbers that Ansible knows for it.
pub fn boolean(value: &Value) -> Result<bool, String> {
    let known = match value {
        Value::Bool(flag) => return Ok(*flag),
        Value::String(text) => match text.to_lowercase().trim() {
            "y" | "yes" | "on" | "1" | "true" | "t" => Some(true),
            "n" | "no" | "off" | "0" | "false" | "f" => Some(false),
            _ => None,
        },
        Value::Number(number) if number.as_f64() == Some(1.0) => Some(true),
        Value::Number(number) if number.as_f64() == Some(0.0) => Some(false),
        Value::Number(_) => None,
        _ => return Err(format!("<class '{}'> cannot be converted to a bool", type_name(value))),
    };
    // AnsibleModule lists the words in an order that changes with every run; here they keep one.
    known.ok_or_else(|| {
        format!(
            "The value '{}' is not a valid boolean. Valid booleans include: 'y', 'yes', 'on', '1', 'true', 't', 1, \
             'n', 'no', 'off', '0', 'false', 'f', 0",
            text(value)
        )
    })
}

pub fn integer(value: &Value) -> Result<i64, String> {
    let whole = match value {
        Value::Bool(flag) => Some(i64::from(*flag)),
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(whole)),
        Value::String(text) => decimal(text),
        _ => None,
    };
    whole.ok_or_else(|| format!("\"{}\" cannot be converted to an int", repr(value)))
}

/// Python's `Decimal` takes `3.0`, `1e3` and `1_000` for integers too.
fn decimal(text: &str) -> Option<i64> {
    let text = text.trim().replace('_', "");
    // `inf` and `nan` are floats for Rust, but no numbers here.
    if text.chars().any(|c| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')) {
        return None;
    }
    text.parse().ok().or_else(|| text.parse().ok().and_then(whole))
}

fn whole(float: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    (float.fract() == 0.0 && float.abs() < EXACT).then_some(float as i64)
}

/// A list, or a comma-separated string; the parts are taken as they are, blanks included.
pub fn string_list(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Array(items) => Ok(items.iter().map(text).collect()),
        Value::String(items) => Ok(items.split(',').map(str::to_string).collect()),
        Value::Number(_) | Value::Bool(_) => Ok(vec![text(value)]),
        _ => Err(format!("<class '{}'> cannot be converted to a list", type_name(value))),
    }
}

/// Python's `str()`; a null is an empty string.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => repr(other),
    }
}

/// Python's `repr()`.
fn repr(value: &Value) -> String {
    let joined = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::Null => "None".to_string(),
        Value::Bool(true) => "True".to_string(),
        Value::Bool(false) => "False".to_string(),
        Value::Number(number) => Number::to_string(number),
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("[{}]", joined(items.iter().map(repr).collect())),
        Value::Object(map) => {
            let pair = |(key, value): (&String, &Value)| format!("{}: {}", quoted(key), repr(value));
            format!("{{{}}}", joined(map.iter().map(pair).collect()))
        }
    }
}

fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// The name of the value's type in Python.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

/// A path with `$VAR`, `${VAR}` and a leading `~` or `~user` expanded; what is not known stays as it is.
pub fn path(value: &Value, env: &dyn Fn(&str) -> Option<String>) -> String {
    let path = expand_variables(&text(value), env);
    let Some(rest) = path.strip_prefix('~') else { return path };
    let (user, below) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let home = if user.is_empty() {
        env("HOME").or_else(|| home_of(Login::Own))
    } else {
        home_of(Login::Name(user))
    };
    match home {
        Some(home) if home.trim_end_matches('/').is_empty() && below.is_empty() => "/".to_string(),
        Some(home) => format!("{}{below}", home.trim_end_matches('/')),
        None => path,
    }
}

fn expand_variables(path: &str, env: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let (name, length) = match after.strip_prefix('{').and_then(|braced| braced.split_once('}')) {
            Some((name, _)) => (name, name.len() + 2),
            None => {
                let end = after.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(after.len());
                after.split_at_checked(end).map_or(("", 0), |(name, _)| (name, end))
            }
        };
        let (used, next) = after.split_at(length);
        match env(name) {
            Some(value) if length > 0 => out.push_str(&value),
            _ => out.extend(["$", used]),
        }
        rest = next;
    }
    out.push_str(rest);
    out
}

enum Login<'a> {
    Own,
    Name(&'a str),
}

/// Read from the file itself: the C library's look-ups do not work in a static executable.
fn home_of(login: Login<'_>) -> Option<String> {
    let own = rustix::process::getuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match (&login, fields.as_slice()) {
            (Login::Own, [_, _, uid, _, _, home, ..]) if *uid == own => Some(home.to_string()),
            (Login::Name(user), [name, _, _, _, _, home, ..]) if name == user => Some(home.to_string()),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOME" => Some("/home/op".to_string()),
            "SITE" => Some("west/$HOME".to_string()),
            _ => None,
        }
    }

    #[test]
    fn a_path_is_expanded_as_python_expands_it() {
        for (given, expanded) in [
            ("/a/$SITE/b", "/a/west/$HOME/b"),
            ("/a/${SITE}x", "/a/west/$HOMEx"),
            ("~/x", "/home/op/x"),
            ("~", "/home/op"),
            ("$HOME/x", "/home/op/x"),
            ("/a/$UNKNOWN/${UNKNOWN}/$/${", "/a/$UNKNOWN/${UNKNOWN}/$/${"),
            ("~no.such.user/x", "~no.such.user/x"),
            ("~root", "/root"),
            ("/a~b", "/a~b"),
        ] {
            assert_eq!(path(&json!(given), &env), expanded, "{given}");
        }
    }

    #[test]
    fn integers_are_taken_as_pythons_decimal_takes_them() {
        for (given, whole) in [
            (json!(7), 7),
            (json!(7.0), 7),
            (json!(" 7 "), 7),
            (json!("7.0"), 7),
            (json!("1e3"), 1000),
            (json!("1_000"), 1000),
            (json!("-3"), -3),
            (json!(true), 1),
        ] {
            assert_eq!(integer(&given), Ok(whole), "{given}");
        }
        for (given, shown) in [
            (json!("x"), "\"'x'\""),
            (json!("it's"), "\"\"it's\"\""),
            (json!(7.5), "\"7.5\""),
            (json!("inf"), "\"'inf'\""),
            (json!(""), "\"''\""),
            (json!(["a", null, {"b": true}]), "\"['a', None, {'b': True}]\""),
        ] {
            assert_eq!(integer(&given), Err(format!("{shown} cannot be converted to an int")));
        }
    }

    #[test]
    fn booleans_are_ansibles_words_in_any_case() {
        for yes in [json!("Yes"), json!(" on "), json!("1"), json!(1), json!(1.0), json!(true), json!("T")] {
            assert_eq!(boolean(&yes), Ok(true), "{yes}");
        }
        for no in [json!("No"), json!("off"), json!("0"), json!(0), json!(false), json!("F")] {
            assert_eq!(boolean(&no), Ok(false), "{no}");
        }
        assert_eq!(boolean(&json!([])), Err("<class 'list'> cannot be converted to a bool".to_string()));
    }
}
