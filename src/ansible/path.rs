//! Variables and home directories in the paths of this host.

use serde_json::Value;

use super::python;

/// A path with `$VAR`, `${VAR}` and a leading `~` or `~user` expanded; what is not known stays as it is.
pub fn expand(value: &Value, env: &dyn Fn(&str) -> Option<String>) -> String {
    let path = expand_variables(&python::text(value), env);
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
            assert_eq!(expand(&json!(given), &env), expanded, "{given}");
        }
    }
}
