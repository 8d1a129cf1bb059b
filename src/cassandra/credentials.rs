//! What JMX wants to know, as nodetool reads it.

use anyhow::Result;

use crate::ansible::request::{NodeAccess, Secret};
use crate::error::Error;

/// The line for `-pwf /dev/stdin`; the password is the option's, or the first line of the file.
pub fn line(access: &NodeAccess) -> Result<Option<Secret>> {
    let (password, source) = match (&access.jmx_password, &access.jmx_password_file) {
        (Some(password), _) => (password.reveal().to_owned(), "`jmx_password`".to_owned()),
        (None, Some(file)) => {
            let source = format!("`jmx_password_file` `{}`", file.display());
            let text = std::fs::read_to_string(file).map_err(|error| Error::BadOption {
                message: format!("{source} cannot be read: {error}"),
                hint: "name a file on this host whose first line is the password",
            })?;
            (text.lines().next().unwrap_or_default().to_owned(), format!("the first line of {source}"))
        }
        (None, None) => return Ok(None),
    };
    let Some(user) = &access.jmx_username else {
        return Err(unusable(format!("{source} is given without `jmx_username`")).into());
    };
    // nodetool reads words: another blank would end one, and the login be refused as a wrong password.
    for (word, what) in [(user, "`jmx_username`"), (&password, source.as_str())] {
        if word.is_empty() {
            return Err(unusable(format!("{what} is empty")).into());
        }
        if word.contains(char::is_whitespace) {
            return Err(unusable(format!("{what} holds a blank or a line break")).into());
        }
    }
    Ok(Some(Secret::new(format!("{user} {password}\n"))))
}

fn unusable(message: String) -> Error {
    Error::BadOption { message, hint: "nodetool takes a user and a password of one word each" }
}
