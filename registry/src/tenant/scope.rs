//! PromQL narrowed to one account: every selector of a query gets the matcher `account="…"`.
//!
//! What goes to Prometheus is never the caller's text but what was understood of it, written anew and read
//! again: where our parser and Prometheus' might disagree, the caller's words do not get that far.

use std::time::Duration;

use pictor_protocol::AccountId;
use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{
    self, AggregateExpr, BinModifier, BinaryExpr, Call, Expr, LabelModifier, MatrixSelector, ParenExpr,
    SubqueryExpr, UnaryExpr, VectorSelector,
};
use tokio::sync::oneshot;

use super::bounds::{POINTS_OF_SUBQUERY_MAX, RANGE_MAX, Refusal};
use super::turns::Reading;

pub(super) const QUERY_BYTES_MAX: usize = 16 << 10;
/// Compiling a regular expression costs far more than its length says: up to tenths of a second each.
const REGEXES_MAX: usize = 32;
/// The label of discovery that says whose a series is.
const ACCOUNT: &str = "account";
/// A subquery without a step has that of the rules: no shorter than scrapes are apart.
const STEP_DEFAULT: Duration = Duration::from_secs(15);
/// The parser, its output and what drops it recurse as deep as a query nests, which is up to its length.
/// Only what is used of a stack takes memory.
const STACK_BYTES: usize = 512 << 20;

/// The query narrowed to an account. `span` is how far apart its first and last evaluation are.
pub(super) async fn query(
    text: &str,
    account: AccountId,
    span: Duration,
    permit: Reading,
) -> Result<String, Refusal> {
    let text = text.to_owned();
    on_deep_stack(permit, move || narrowed(&text, account, span)).await
}

/// A `match[]` narrowed to an account.
pub(super) async fn selector(text: &str, account: AccountId, permit: Reading) -> Result<String, Refusal> {
    let text = text.to_owned();
    on_deep_stack(permit, move || match parse(&text)? {
        Expr::VectorSelector(VectorSelector { offset: None, at: None, .. }) => {
            narrowed(&text, account, Duration::ZERO)
        }
        _ => Err(format!("match[] must be a selector such as up{{job=\"x\"}}, not '{text}'")),
    })
    .await
}

/// Everything of an account.
pub(super) fn all_of(account: AccountId) -> String {
    format!("{{{}}}", matcher(account))
}

/// A caller may go away and the work goes on, so it is the work that holds the permit.
async fn on_deep_stack<T: Send + 'static>(
    permit: Reading,
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let (sender, receiver) = oneshot::channel();
    let started =
        std::thread::Builder::new().name("promql".to_owned()).stack_size(STACK_BYTES).spawn(move || {
            // Nobody may be waiting any more.
            let _ = sender.send(work());
            drop(permit);
        });
    if let Err(cause) = started {
        tracing::error!(error = %cause, "a thread for reading a query could not be started");
        return Err("the registry has no room to read the query now: try again later".to_owned());
    }
    // The parser panics on some numbers that no duration can hold; its thread ends then without an answer.
    receiver.await.unwrap_or_else(|_| Err("the query holds a number that cannot be a duration".to_owned()))
}

fn narrowed(text: &str, account: AccountId, span: Duration) -> Result<String, Refusal> {
    let mut expr = parse(text)?;
    narrow(&mut expr, &matcher(account), span)?;
    let written = expr.to_string();
    if parse(&written).as_ref() != Ok(&expr) {
        return Err(
            "the query holds something that cannot be narrowed to your account: write it differently"
                .to_owned(),
        );
    }
    Ok(written)
}

fn parse(text: &str) -> Result<Expr, Refusal> {
    // The text as written anew is a little longer than what was asked.
    if text.matches("=~").count() + text.matches("!~").count() > REGEXES_MAX {
        return Err(format!("the query holds more than {REGEXES_MAX} regular expressions"));
    }
    parser::parse(text).map_err(|cause| format!("the query cannot be read: {cause}"))
}

fn matcher(account: AccountId) -> Matcher {
    Matcher::new(MatchOp::Equal, ACCOUNT, &account.to_string())
}

/// Walks the whole expression. Each pattern names every field, so that a version of the parser with one more
/// does not compile before somebody has looked whether it can hold a selector.
fn narrow(expr: &mut Expr, account: &Matcher, span: Duration) -> Result<(), Refusal> {
    match expr {
        Expr::Aggregate(AggregateExpr { op: _, expr, param, modifier }) => {
            // Written without a clause, which means the same.
            modifier
                .take_if(|modifier| matches!(modifier, LabelModifier::Include(labels) if labels.is_empty()));
            if let Some(param) = param {
                narrow(param, account, span)?;
            }
            narrow(expr, account, span)
        }
        Expr::Unary(UnaryExpr { expr }) | Expr::Paren(ParenExpr { expr }) => narrow(expr, account, span),
        Expr::Binary(BinaryExpr { op: _, lhs, rhs, modifier }) => {
            drop_empty_ignoring(modifier);
            narrow(lhs, account, span)?;
            narrow(rhs, account, span)
        }
        Expr::Subquery(SubqueryExpr { expr, offset: _, at: _, range, step }) => {
            let span = span.saturating_add(*range);
            let step = step.unwrap_or(STEP_DEFAULT);
            if span > RANGE_MAX || span.as_millis() / step.as_millis().max(1) > POINTS_OF_SUBQUERY_MAX {
                return Err(format!(
                    "a subquery covers more than {} days or {POINTS_OF_SUBQUERY_MAX} points: \
                     give it a shorter range or a longer step",
                    RANGE_MAX.as_secs() / 86_400
                ));
            }
            narrow(expr, account, span)
        }
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Ok(()),
        Expr::VectorSelector(selector) => narrow_selector(selector, account),
        Expr::MatrixSelector(MatrixSelector { vs, range }) => {
            if *range > RANGE_MAX {
                let days = RANGE_MAX.as_secs() / 86_400;
                return Err(format!("a selector covers more than {days} days: give it a shorter range"));
            }
            narrow_selector(vs, account)
        }
        Expr::Call(Call { func, args }) => {
            // `info` reads series that no selector names; what else is experimental may do so one day.
            if func.experimental {
                return Err(format!("{}() is experimental and not offered here", func.name));
            }
            args.args.iter_mut().try_for_each(|argument| narrow(argument, account, span))
        }
        Expr::Extension(_) => Err("the query holds what is not PromQL".to_owned()),
    }
}

/// `ignoring ()` is written without a clause, which means the same.
fn drop_empty_ignoring(modifier: &mut Option<BinModifier>) {
    let Some(BinModifier { matching, .. }) = modifier else { return };
    matching.take_if(|matching| matches!(matching, LabelModifier::Exclude(labels) if labels.is_empty()));
    modifier.take_if(|modifier| *modifier == BinModifier::default());
}

/// Adds the account's matcher to those of the caller, which all must hold: another account's name gives nothing.
fn narrow_selector(selector: &mut VectorSelector, account: &Matcher) -> Result<(), Refusal> {
    let VectorSelector { name: _, matchers, offset: _, at: _ } = selector;
    if !matchers.or_matchers.is_empty() {
        return Err(
            "'or' between the matchers of a selector is not offered here: use or between two selectors"
                .to_owned(),
        );
    }
    matchers.matchers.push(account.clone());
    // In the order in which they are written, so that what is read again compares equal.
    matchers.matchers.sort_by_cached_key(ToString::to_string);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pictor_protocol::AccountId;

    use super::{QUERY_BYTES_MAX, narrowed};
    use crate::tenant::turns::Turns;

    fn account() -> AccountId {
        AccountId::from_parts(1_795_000_000_000, [7; 10])
    }

    fn ours() -> String {
        format!("account=\"{}\"", account())
    }

    async fn query(text: &str) -> Result<String, super::Refusal> {
        super::query(text, account(), Duration::ZERO, Turns::new().reading(account()).await.unwrap()).await
    }

    async fn selector(text: &str) -> Result<String, super::Refusal> {
        super::selector(text, account(), Turns::new().reading(account()).await.unwrap()).await
    }

    #[track_caller]
    fn becomes(text: &str, expected: &str) {
        let narrowed = narrowed(text, account(), Duration::ZERO).unwrap();
        assert_eq!(narrowed.replace(&ours(), "A"), expected, "{text}");
    }

    #[track_caller]
    fn refused(text: &str) -> String {
        narrowed(text, account(), Duration::ZERO).expect_err(text)
    }

    #[test]
    fn every_selector_gets_the_account() {
        becomes("up", "up{A}");
        becomes("up{}", "up{A}");
        becomes("{__name__=~\".+\"}", "{__name__=~\".+\",A}");
        becomes("{\"up\"}", "{__name__=\"up\",A}");
        becomes("{\"härte grad\", \"äh\"='x'}", "{\"äh\"=\"x\",__name__=\"härte grad\",A}");
        becomes("up{job=\"x\",}", "up{A,job=\"x\"}");
        becomes("rate(up[5m] offset 1h)", "rate(up{A}[5m] offset 1h)");
        becomes("up @ 1e3 offset -5m", "up{A} @ 1000.000 offset -5m");
        becomes("up @ end()", "up{A} @ end()");
        becomes(
            "max_over_time(rate(up[5m])[1h:1m] @ start())",
            "max_over_time(rate(up{A}[5m])[1h:1m] @ start())",
        );
        becomes("-up ^ 2 + up", "-up{A} ^ 2 + up{A}");
        becomes("up or on (a) down unless other", "up{A} or on (a) down{A} unless other{A}");
        becomes("a * on (x) group_left (y) b", "a{A} * on (x) group_left (y) b{A}");
        becomes("sum by (account) (up)", "sum by (account) (up{A})");
        becomes("sum(up) without (x)", "sum without (x) (up{A})");
        becomes("sum by () (up)", "sum(up{A})");
        becomes("sum(up) without ()", "sum without () (up{A})");
        becomes("up + ignoring () down", "up{A} + down{A}");
        becomes("up and ignoring () down", "up{A} and down{A}");
        becomes("up > bool ignoring () down", "up{A} > bool down{A}");
        becomes("up + on () group_left () down", "up{A} + on () group_left () down{A}");
        becomes("topk(scalar(secret), up)", "topk(scalar(secret{A}), up{A})");
        becomes("quantile(scalar(sum(secret)), up)", "quantile(scalar(sum(secret{A})), up{A})");
        becomes("count_values(\"account\", up)", "count_values(\"account\", up{A})");
        becomes(
            "label_replace(up, \"account\", \"other\", \"\", \"\")",
            "label_replace(up{A}, \"account\", \"other\", \"\", \"\")",
        );
        becomes("absent(up)", "absent(up{A})");
        becomes("clamp(up, scalar(low), scalar(high))", "clamp(up{A}, scalar(low{A}), scalar(high{A}))");
        becomes("sum + by", "sum{A} + by{A}");
        becomes("up # {account=\"x\"}", "up{A}");
        becomes("up{a=\"}\", b='{', c=`\"`}", "up{a=\"}\",A,b=\"{\",c=\"\\\"\"}");
    }

    #[test]
    fn what_the_caller_says_of_accounts_stays_and_widens_nothing() {
        becomes("up{account=\"other\"}", "up{A,account=\"other\"}");
        becomes("up{account=~\".*\"}", "up{A,account=~\".*\"}");
        becomes("up{account!=\"x\",account=\"\"}", "up{account!=\"x\",account=\"\",A}");
    }

    #[test]
    fn what_selects_nothing_stays_as_it_is() {
        becomes("1+1", "1 + 1");
        becomes("\"up{}\"", "\"up{}\"");
        becomes("vector(1) > bool 0", "vector(1) > bool 0");
        becomes("time() - 0x10", "time() - 16");
        becomes("5m", "300");
        becomes("-Inf", "-Inf");
    }

    #[test]
    fn what_cannot_be_narrowed_is_refused() {
        assert!(refused("up{a=\"1\" or b=\"2\"}").contains("or"));
        assert!(refused("info(up)").contains("info"));
        assert!(refused("info(up, {a=\"b\"})").contains("info"));
        for text in
            ["", "up{", "up up", "{}", "{a=~\".*\"}", "up{\"x\"}", "sum(up", "unknown(up)", "up[5m:0s]"]
        {
            refused(text);
        }
        assert!(refused("up + ignoring () group_left () up").contains("differently"));
        // Times before 1970 are not written as they were read.
        assert!(refused("up @ -5").contains("differently"));
        refused(&"+up{a=~\"x\"}".repeat(33));
        assert!(refused("max_over_time(up[300d:1s])").contains("points"));
        assert!(refused("max_over_time(up[500d])").contains("days"));
        assert!(refused("max_over_time(max_over_time(up[300d:1h])[300d:1h])").contains("days"));
    }

    #[tokio::test]
    async fn match_is_one_selector() {
        assert_eq!(selector("up{a=\"b\"}").await.unwrap(), format!("up{{a=\"b\",{}}}", ours()));
        for text in ["up offset 5m", "up @ 5", "sum(up)", "up[5m]", "(up)", "1", "up or down", ""] {
            selector(text).await.expect_err(text);
        }
    }

    #[tokio::test]
    async fn nothing_that_fits_breaks_the_reader() {
        let fits = |open: &str, middle: &str, close: &str| {
            let times = (QUERY_BYTES_MAX - middle.len()) / (open.len() + close.len());
            format!("{}{middle}{}", open.repeat(times), close.repeat(times))
        };
        for text in [
            fits("(", "up", ")"),
            fits("-", "up", ""),
            fits("up+", "up", ""),
            fits("up^", "up", ""),
            fits("abs(", "up", ")"),
            fits("1-(", "up", ")"),
            fits("sum(", "up", ")"),
        ] {
            let narrowed = query(&text).await.unwrap();
            assert_eq!(narrowed.matches(&ours()).count(), text.matches("up").count());
        }
        for text in ["up[1e30]", "up offset 1e300", "up[NaN]", "up[5m:-1]"] {
            query(text).await.expect_err(text);
        }
    }
}
