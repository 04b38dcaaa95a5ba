//! Queries of paths: the names are those of the flags of `vstun connections` and `vstun events`.

use form_urlencoded::parse;

use crate::app::events::Span;
use crate::control::Which;

/// The number of connections listed without `limit`.
const CONNECTIONS: usize = 1_000;

/// The parameters, for the error about an unknown one.
const PARAMETERS: &str = "limit=N, client=ADDR, real=ADDR, state=STATE and service=NAME";

/// The selection of connections that a query asks for, and at most how many of them.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct ConnectionQuery {
    pub(super) which: Which,
    pub(super) limit: usize,
}

/// Parses a query, percent-encoded or not.
///
/// # Errors
/// A parameter that does not exist or is given twice, or a `limit` that is not a number.
/// The values of the selection are checked by the daemon.
pub(super) fn connections(query: Option<&str>) -> Result<ConnectionQuery, String> {
    let (mut which, mut limit) = (Which::default(), None);
    for (name, value) in parse(query.unwrap_or_default().as_bytes()) {
        let field = match &*name {
            "limit" => &mut limit,
            "client" => &mut which.client,
            "real" => &mut which.address,
            "state" => &mut which.state,
            "service" => &mut which.service,
            _ => return Err(format!("{name:?} is unknown; there are {PARAMETERS}")),
        };
        if field.replace(value.into_owned()).is_some() {
            return Err(format!("{name} is there twice; give it once"));
        }
    }
    let limit = match limit {
        None => CONNECTIONS,
        Some(number) => number
            .parse()
            .map_err(|_| format!("limit: {number:?} is not a number of connections"))?,
    };
    Ok(ConnectionQuery { which, limit })
}

/// Parses the span of events that a query asks for.
///
/// # Errors
/// A parameter that does not exist, is given twice, or is not a moment.
pub(super) fn events(query: Option<&str>) -> Result<Span, String> {
    let mut since = None;
    for (name, value) in parse(query.unwrap_or_default().as_bytes()) {
        if name != "since" {
            return Err(format!("{name:?} is unknown; there is since=10m, or a time"));
        }
        if since.replace(value.into_owned()).is_some() {
            return Err("since is there twice; give it once".to_owned());
        }
    }
    Span::parse(since.as_deref(), false).map_err(|error| format!("since: {error:#}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_filter_of_the_command_is_a_parameter() {
        let all = "client=2001%3adb8%3a%3a%2f32&real=10.0.0.11&state=UDP&service=a+b&limit=5";
        let text = |text: &str| Some(text.to_owned());
        let which = Which {
            client: text("2001:db8::/32"),
            address: text("10.0.0.11"),
            state: text("UDP"),
            service: text("a b"),
        };
        assert_eq!(connections(Some(all)).unwrap(), ConnectionQuery { which, limit: 5 });
        let bare = connections(Some("client=198.51.100.0/24")).unwrap();
        assert_eq!(bare.which.client.as_deref(), Some("198.51.100.0/24"));
    }

    #[test]
    fn a_limit_is_a_number() {
        assert_eq!(connections(None).unwrap().limit, CONNECTIONS);
        assert_eq!(connections(Some("")).unwrap().limit, CONNECTIONS);
        assert_eq!(connections(Some("limit=5")).unwrap().limit, 5);
        for query in ["limit=", "limit=-1", "limit=x", "limit"] {
            assert!(connections(Some(query)).unwrap_err().contains("is not a number"), "{query}");
        }
    }

    #[test]
    fn unknown_and_repeated_parameters_are_refused_by_name() {
        let refused = connections(Some("reals=10.0.0.11")).unwrap_err();
        assert!(refused.contains("\"reals\"") && refused.contains("real=ADDR"), "{refused}");
        let refused = connections(Some("state=UDP&state=UDP")).unwrap_err();
        assert!(refused.starts_with("state is there twice"), "{refused}");
    }
}
