//! How much of the registry and of its Prometheus one account may use at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pictor_protocol::AccountId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};

/// A dashboard sends all its queries together; the rest of them waits.
const QUERIES_MAX: usize = 8;
/// Reading a query can be made to cost seconds of a processor, which heartbeats and leases need too.
const READING_MAX: usize = 4;
const WAIT_MAX: Duration = Duration::from_secs(30);

pub(super) struct Turns {
    accounts: Mutex<HashMap<AccountId, Account>>,
    reading: Arc<Semaphore>,
}

#[derive(Clone)]
struct Account {
    queries: Arc<Semaphore>,
    reading: Arc<Semaphore>,
}

/// The right to work on one query of an account; held until its answer is sent.
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
}

/// The right to read one query: one of an account's at a time, and few of all accounts'.
pub(super) struct Reading {
    _permits: [OwnedSemaphorePermit; 2],
}

impl Turns {
    pub(super) fn new() -> Turns {
        Turns { accounts: Mutex::default(), reading: Arc::new(Semaphore::new(READING_MAX)) }
    }

    fn account(&self, account: AccountId) -> Account {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || Account {
            queries: Arc::new(Semaphore::new(QUERIES_MAX)),
            reading: Arc::new(Semaphore::new(1)),
        };
        accounts.entry(account).or_insert_with(made).clone()
    }

    pub(super) async fn query(&self, account: AccountId) -> Result<Turn> {
        Ok(Turn { _permit: waited(self.account(account).queries).await? })
    }

    pub(super) async fn reading(&self, account: AccountId) -> Result<Reading> {
        let own = waited(self.account(account).reading).await?;
        Ok(Reading { _permits: [own, waited(Arc::clone(&self.reading)).await?] })
    }
}

async fn waited(semaphore: Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
    match tokio::time::timeout(WAIT_MAX, semaphore.acquire_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(Error::Unavailable(format!(
            "too many queries at once, of which an account may have {QUERIES_MAX}: try again, or ask for less"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use pictor_protocol::AccountId;

    use super::{QUERIES_MAX, READING_MAX, Turns};

    fn account(number: u8) -> AccountId {
        AccountId::from_parts(1_795_000_000_000, [number; 10])
    }

    #[tokio::test]
    async fn an_account_takes_no_more_than_its_turns() {
        let turns = Turns::new();
        let mut held = Vec::new();
        for _ in 0..QUERIES_MAX {
            held.push(turns.query(account(1)).await.unwrap());
        }
        assert!(turns.query(account(1)).now_or_never().is_none(), "it waits");
        assert!(turns.query(account(2)).now_or_never().is_some(), "others do not");
        held.pop();
        assert!(turns.query(account(1)).now_or_never().is_some());
    }

    #[tokio::test]
    async fn few_queries_are_read_at_once() {
        let turns = Turns::new();
        let first = turns.reading(account(0)).await.unwrap();
        assert!(turns.reading(account(0)).now_or_never().is_none(), "one of an account");
        let mut held = Vec::new();
        for number in 1..READING_MAX {
            held.push(turns.reading(account(u8::try_from(number).unwrap())).await.unwrap());
        }
        assert!(turns.reading(account(99)).now_or_never().is_none(), "few of all");
        drop(first);
        assert!(turns.reading(account(99)).now_or_never().is_some());
    }
}
