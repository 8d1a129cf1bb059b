//! Who nodetool is to JMX.

use super::args::Args;
use super::request::Secret;
use super::values::{host_path, refused};
use crate::error::Error;

/// The password: the option's, or the first line of the file; with a user, each of one word. A file that cannot be
/// read keeps nothing from its work that can do without nodetool: a roll-back least of all.
pub fn password(args: &Args, is_needed: bool) -> Result<Option<Secret>, Error> {
    let (password, source) = match (args.text("jmx_password"), host_path(args, "jmx_password_file")?) {
        (Some(password), _) => (password.to_owned(), "`jmx_password`".to_owned()),
        (None, Some(file)) => {
            let source = format!("`jmx_password_file` `{}`", file.display());
            let text = match std::fs::read_to_string(&file) {
                Ok(text) => text,
                Err(_) if !is_needed => return Ok(None),
                Err(error) => {
                    let message = format!("{source} cannot be read: {error}");
                    return Err(refused(
                        message,
                        "name a file on this host whose first line is the password",
                    ));
                }
            };
            (text.lines().next().unwrap_or_default().to_owned(), format!("the first line of {source}"))
        }
        (None, None) => return Ok(None),
    };
    // nodetool reads words: another blank would end one, and the login be refused as a wrong password.
    let user = args.text("jmx_username").unwrap_or_default();
    for (word, what) in [(user, "`jmx_username`"), (&password, source.as_str())] {
        let hint = "nodetool takes a user and a password of one word each";
        if word.is_empty() {
            return Err(refused(format!("{what} is empty"), hint));
        }
        if word.contains(char::is_whitespace) {
            return Err(refused(format!("{what} holds a blank or a line break"), hint));
        }
    }
    Ok(Some(Secret::new(password)))
}
