//! Payouts: recorded before money is sent, and ended when it was, or could not be.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use pictor_look::text;
use pictor_protocol::{AccountId, Micros, NewPayout, PatchPayout, Payout, PayoutId, PayoutStatus, Role};
use serde::Deserialize;

use super::super::{Form, Page, Visitor, said};
use super::ROWS;
use crate::App;
use crate::error::{Error, Path, Result};
use crate::{accounts, payouts};

const HERE: &str = "/admin/payouts";

#[derive(Template)]
#[template(path = "console/admin/payouts.html")]
struct PayoutsPage<'a> {
    page: &'a Page,
    tab: &'static str,
    payouts: Vec<Payout>,
    next: Option<String>,
    is_first: bool,
    typed: PayoutForm,
    /// (field, why)
    refusal: Option<(&'static str, String)>,
}

impl PayoutsPage<'_> {
    fn error(&self, field: &str) -> Option<&str> {
        self.refusal.as_ref().filter(|(named, _)| *named == field).map(|(_, why)| why.as_str())
    }
}

#[derive(Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    cursor: String,
    /// Whom the form is filled in for.
    #[serde(default)]
    account: String,
}

#[derive(Default, Deserialize)]
pub(super) struct PayoutForm {
    /// A name or an id.
    account: String,
    amount: String,
    #[serde(default)]
    reference: String,
    /// So that the same form sent twice records one payout.
    key: String,
}

pub(super) async fn page(
    State(app): State<App>,
    visitor: Visitor,
    Query(asked): Query<Asked>,
) -> Result<Response> {
    let typed = PayoutForm {
        account: asked.account,
        key: hex::encode(app.clock.random::<16>()),
        ..PayoutForm::default()
    };
    show(&app, &visitor, &asked.cursor, typed, None).await
}

async fn show(
    app: &App,
    visitor: &Visitor,
    cursor: &str,
    typed: PayoutForm,
    refusal: Option<(&'static str, String)>,
) -> Result<Response> {
    let operator = visitor.with_role(Role::Operator)?;
    let before: Option<PayoutId> = match cursor {
        "" => None,
        text => Some(text.parse().map_err(|_| Error::NotFound("page of the list"))?),
    };
    let list = payouts::page(app, operator, before, ROWS).await?;
    let page = Page::new(app, visitor, "Payouts");
    let content = PayoutsPage {
        page: &page,
        tab: "payouts",
        payouts: list.items,
        next: list.next_cursor,
        is_first: before.is_none(),
        typed,
        refusal,
    };
    Ok(page.show(&content)?.into_response())
}

pub(super) async fn record(
    State(app): State<App>,
    Form(visitor, form): Form<PayoutForm>,
) -> Result<Response> {
    let operator = visitor.acting(Role::Operator)?;
    let account_id = match account(&app, &form.account).await {
        Ok(id) => id,
        Err(Error::NotFound(_)) => {
            let why = "there is no account of this name or id".to_owned();
            return show(&app, &visitor, "", form, Some(("account", why))).await;
        }
        Err(error) => return Err(error),
    };
    let Ok(amount_micros) = form.amount.trim().parse::<Micros>() else {
        let why = "write an amount, such as 12.50".to_owned();
        return show(&app, &visitor, "", form, Some(("amount", why))).await;
    };
    let new = NewPayout { account_id, amount_micros, reference: Some(form.reference.clone()) };
    let why = match payouts::record_payout(&app, operator, new, Some(form.key.clone())).await {
        Ok((payout, _)) => {
            let amount = text::money(&payout.amount_micros, &payout.currency);
            let done = format!("A payout of {amount} to {} was recorded.", payout.account_name);
            return Ok(said(&done, HERE));
        }
        Err(Error::Invalid(why) | Error::InsufficientFunds(why)) => why,
        Err(Error::Conflict { detail, .. } | Error::Unprocessable { detail, .. }) => detail,
        Err(error) => return Err(error),
    };
    let refusal = match why.strip_prefix("reference: ") {
        Some(why) => ("reference", why.to_owned()),
        None => ("amount", why.trim_start_matches("amount_micros: ").to_owned()),
    };
    show(&app, &visitor, "", form, Some(refusal)).await
}

async fn account(app: &App, text: &str) -> Result<AccountId> {
    let text = text.trim();
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    accounts::store::find(&mut *app.db.read().await?, text).await?.ok_or(Error::NotFound("account"))
}

#[derive(Deserialize)]
pub(super) struct EndForm {
    status: PayoutStatus,
    #[serde(default)]
    reference: String,
}

pub(super) async fn end(
    State(app): State<App>,
    Path(id): Path<PayoutId>,
    Form(visitor, form): Form<EndForm>,
) -> Result<Response> {
    let operator = visitor.acting(Role::Operator)?;
    let patch = PatchPayout { status: form.status, reference: Some(form.reference) };
    let payout = payouts::end_payout(&app, operator, id, patch).await?;
    let amount = text::money(&payout.amount_micros, &payout.currency);
    let done = match payout.status {
        PayoutStatus::Failed => {
            format!("The payout to {} failed; {amount} is in its balance again.", payout.account_name)
        }
        _ => format!("{amount} was sent to {}.", payout.account_name),
    };
    Ok(said(&done, HERE))
}
