//! The line to the registry, the clock, and whether the registry knows this worker.

use pictor_protocol::Check;

use crate::{
    connection::{self, Connection},
    finding::Finding,
    probe::{Line, TokenWord},
};

/// Leases are counted from when a call is sent, so a wrong clock costs no money, but it blurs every graph.
const CLOCK_SKEW_SECONDS_MAX: f64 = 5.0;

/// As one try finds it.
pub(super) fn at_a_look(line: &Line) -> Vec<Finding> {
    match line {
        Line::Unusable(error) => {
            vec![Finding::fail(Check::Registry, error, "import the worker's config file again")]
        }
        Line::Silent { url, error } => {
            let advice = "is the address right (`registry` in the config file), is the network up, is the registry running?";
            vec![Finding::fail(Check::Registry, format!("{url} cannot be reached: {error}"), advice)]
        }
        Line::Answers { url, skew_seconds, token } => vec![
            Finding::ok(Check::Registry, format!("{url} answers")),
            clock(*skew_seconds),
            said_of_token(token),
        ],
    }
}

/// As heartbeats find it.
pub(super) fn watched(connection: &Connection) -> Vec<Finding> {
    let line = match &connection.line {
        connection::Line::Starting => return Vec::new(),
        connection::Line::Up => Finding::ok(Check::Registry, "it answers"),
        connection::Line::Down => Finding::fail(
            Check::Registry,
            "it does not answer",
            "is the network up, is the registry running? What is rendered is kept and sent when it answers",
        ),
        connection::Line::Refused => Finding::fail(
            Check::Registry,
            "it does not want this worker, or not this machine as it",
            "read the agent's log: the config file may have been imported on another machine",
        ),
    };
    let clock = connection.skew_seconds.map(|skew| clock(Some(skew)));
    [Some(line), clock].into_iter().flatten().collect()
}

/// `skew_seconds` is how far this machine is ahead.
fn clock(skew_seconds: Option<f64>) -> Finding {
    match skew_seconds {
        Some(skew) if skew.abs() > CLOCK_SKEW_SECONDS_MAX => Finding::warn(
            Check::Clock,
            format!("this machine is {:.0} s {}", skew.abs(), if skew > 0.0 { "ahead" } else { "behind" }),
            "let the system set its clock: `timedatectl set-ntp true`",
        ),
        Some(_) => Finding::ok(Check::Clock, "as the registry's"),
        None => Finding::warn(Check::Clock, "the registry tells no time", "nothing, if the clock is right"),
    }
}

fn said_of_token(word: &TokenWord) -> Finding {
    match word {
        TokenWord::Accepted => Finding::ok(Check::Token, "the registry accepts it"),
        TokenWord::NotSaid(reason) => Finding::fail(
            Check::Token,
            format!("the registry did not say: {reason}"),
            "try again when the registry is well",
        ),
        TokenWord::Refused(error) => Finding::fail(
            Check::Token,
            error,
            "download the worker's config file and import it on the one machine that should have it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Grade;

    #[test]
    fn a_clock_is_judged_in_both_directions() {
        assert_eq!(clock(Some(-4.0)).status, Grade::Ok);
        assert!(clock(Some(-60.0)).found.ends_with("60 s behind"));
        assert!(clock(Some(60.0)).found.ends_with("60 s ahead"));
    }
}
