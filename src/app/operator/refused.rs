//! Names the command line's options in refusals that name the request's fields.

use super::command::Command;
use crate::control::ReplyError;

/// The fields of a selection of packets or connections, and the options that set them.
const OPTIONS: [(&str, &str); 7] = [
    ("client", "--client"),
    ("virtual", "--vip"),
    ("address", "--real"),
    ("service", "--service"),
    ("state", "--state"),
    ("verdict", "--verdict"),
    ("reason", "--reason"),
];

/// The error with the option instead of the field, where the command has such options.
pub(super) fn by_option(command: &Command, error: anyhow::Error) -> anyhow::Error {
    if !matches!(command, Command::Trace { .. } | Command::Connections { .. }) {
        return error;
    }
    match error.downcast_ref() {
        Some(ReplyError::Refused(text)) => ReplyError::Refused(renamed(text)).into(),
        _ => error,
    }
}

fn renamed(text: &str) -> String {
    let option = OPTIONS.iter().find_map(|(field, option)| {
        let rest = text.strip_prefix(field)?.strip_prefix(": ")?;
        Some(format!("{option}: {rest}"))
    });
    option.unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_becomes_its_option() {
        for (text, expected) in [
            ("virtual: \"[::1\" is not an IP address", "--vip: \"[::1\" is not an IP address"),
            ("address: 10.9.9.9 is not a real server", "--real: 10.9.9.9 is not a real server"),
            ("busy: 4 traces run", "busy: 4 traces run"),
            ("virtual addresses", "virtual addresses"),
        ] {
            assert_eq!(renamed(text), expected);
        }
    }
}
