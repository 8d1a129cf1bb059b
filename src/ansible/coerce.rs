//! Values of a type, as Python's AnsibleModule takes them, in its words: users grep for these.

use serde_json::{Map, Value, json};

use super::path;
use super::python::{repr, text, type_name};
use super::spec::Kind;

/// Why a value has not the type it should have.
#[derive(Debug)]
pub struct Unfit {
    given: &'static str,
    wanted: &'static str,
    why: String,
}

impl Unfit {
    pub fn told(&self, what: &str) -> String {
        let Unfit { given, wanted, why } = self;
        format!("{what} is of type {given} and we were unable to convert to {wanted}: {why}")
    }
}

pub fn to_type(kind: Kind, value: &Value, env: &dyn Fn(&str) -> Option<String>) -> Result<Value, Unfit> {
    let typed = match kind {
        Kind::Str => Ok(Value::String(text(value))),
        Kind::Int => integer(value),
        Kind::Bool => boolean(value).map(Value::Bool),
        Kind::Bytes => bytes(value),
        Kind::Path => Ok(Value::String(path::expand(value, env))),
        Kind::List => list(value),
        Kind::Dict => dict(value),
        Kind::Raw => Ok(value.clone()),
    };
    typed.map_err(|why| Unfit { given: type_name(value), wanted: kind.name(), why })
}

fn inconvertible(value: &Value, to: &str) -> String {
    format!("<class '{}'> cannot be converted to a {to}", type_name(value))
}

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
        _ => return Err(inconvertible(value, "bool")),
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

/// A whole number of 64 bits. A bool is one already for Python, and stays what it is.
fn integer(value: &Value) -> Result<Value, String> {
    let whole = match value {
        Value::Bool(_) => return Ok(value.clone()),
        Value::Number(number) => number.as_i64().or_else(|| decimal(&number.to_string())),
        Value::String(text) => decimal(&text.trim().replace('_', "")),
        _ => None,
    };
    whole
        .map(|whole| json!(whole))
        .ok_or_else(|| format!("\"{}\" cannot be converted to an int", repr(value)))
}

/// Python's `Decimal` takes `3.0` and `1e3` for integers too.
fn decimal(text: &str) -> Option<i64> {
    let (number, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let (sign, whole) = match whole.strip_prefix(['+', '-']) {
        Some(digits) => (if whole.starts_with('-') { "-" } else { "" }, digits),
        None => ("", whole),
    };
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let significant = digits.trim_end_matches('0');
    if significant.trim_start_matches('0').is_empty() {
        return Some(0);
    }
    let zeros = (digits.len() - significant.len()) as i64 - fraction.len() as i64;
    let power = u32::try_from(exponent.parse::<i64>().ok()?.saturating_add(zeros)).ok()?;
    let significant: i64 = format!("{sign}{significant}").parse().ok()?;
    significant.checked_mul(10_i64.checked_pow(power)?)
}

/// `50MB`, `1.5 G`, `512 kilobyte`: powers of 1024, in AnsibleModule's spelling.
fn bytes(value: &Value) -> Result<Value, String> {
    let told = || inconvertible(value, "Byte value");
    let given = text(value);
    let given = given.trim_end();
    let unit_at = given.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(given.len());
    let (number, unit) = given.split_at(unit_at);
    let number = amount(number).ok_or_else(told)?;
    let limit = if unit.is_empty() { 1.0 } else { unit_of(unit.trim_start()).ok_or_else(told)? };
    let bytes = (number * limit).round_ties_even();
    if bytes < u64::MAX as f64 { Ok(json!(bytes as u64)) } else { Err(told()) }
}

/// Digits with at most one point among them. Not by the library: to read every float right takes it 20 KB of tables.
fn amount(text: &str) -> Option<f64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut digits = whole.chars().chain(fraction.chars());
    // As it is converted it is rounded, once; a number that does not fit is larger than any disk.
    let number =
        digits.try_fold(0_u128, |sum, digit| sum.checked_mul(10)?.checked_add(digit.to_digit(10)?.into()))?;
    let is_ended = text.ends_with(|last: char| last.is_ascii_digit());
    is_ended.then(|| number as f64 / 10_f64.powi(fraction.len() as i32))
}

fn unit_of(unit: &str) -> Option<f64> {
    const WORDS: [&str; 9] = [
        // One of them is misspelt there.
        "byte",
        "kilobyte",
        "megabyte",
        "gigabyte",
        "terabyte",
        "petabyte",
        "exabyte",
        "zetabyte",
        "yottabyte",
    ];
    let letter = unit.chars().next()?.to_ascii_uppercase();
    let power = "BKMGTPEZY".find(letter)?;
    let is_short = unit.len() == 1 || (power > 0 && unit == format!("{letter}B"));
    let is_word = unit.to_ascii_lowercase() == WORDS[power];
    (is_short || is_word).then(|| 1024_f64.powi(power as i32))
}

/// A list, or a comma-separated string; the parts are taken as they are, blanks included.
fn list(value: &Value) -> Result<Value, String> {
    match value {
        Value::Array(_) => Ok(value.clone()),
        Value::String(items) => Ok(items.split(',').collect()),
        Value::Number(_) | Value::Bool(_) => Ok(json!([text(value)])),
        _ => Err(inconvertible(value, "list")),
    }
}

/// A mapping, or its text: JSON, or `k=v, k2="v 2"`.
fn dict(value: &Value) -> Result<Value, String> {
    match value {
        Value::Object(_) => Ok(value.clone()),
        Value::String(text) if text.starts_with('{') => {
            serde_json::from_slice::<Map<String, Value>>(text.as_bytes())
                .map(Value::Object)
                .map_err(|_| "unable to evaluate string as dictionary".to_string())
        }
        Value::String(text) if text.contains('=') => {
            let pair = |field: &String| {
                field.split_once('=').map(|(key, value)| (key.to_string(), Value::String(value.to_string())))
            };
            let pairs: Option<Map<String, Value>> = fields(text).iter().map(pair).collect();
            pairs.map(Value::Object).ok_or_else(|| {
                "unable to evaluate string in the \"key=value\" format as dictionary".to_string()
            })
        }
        Value::String(_) => Err("dictionary requested, could not parse JSON or key=value".to_string()),
        _ => Err(inconvertible(value, "dict")),
    }
}

/// Divided at commas and blanks that are not quoted and not behind a backslash.
fn fields(text: &str) -> Vec<String> {
    let (mut fields, mut field, mut quote) = (Vec::new(), String::new(), None);
    let mut rest = text.trim().chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => field.extend(rest.next()),
            _ if quote == Some(c) => quote = None,
            '\'' | '"' if quote.is_none() => quote = Some(c),
            ',' | ' ' if quote.is_none() => fields.push(std::mem::take(&mut field)),
            _ => field.push(c),
        }
    }
    fields.push(field);
    fields.retain(|field| !field.is_empty());
    fields
}
