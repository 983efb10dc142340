//! The ledger's store: every cause pays once, no balance falls below zero, and the ledger's own check holds.

use pictor_protocol::{JobId, Micros, TaskId};
use pictor_registry::db::Db;
use pictor_registry::error::Error;
use pictor_registry::ledger::Finding;
use pictor_registry::ledger::store::{self, Book, NewTransfer, PaidTask, TransferKind};

use crate::database::Place;
use crate::network::{Dice, NOW, Network, findings, held, insert_completed};

on_both_databases!(
    a_credit_is_given_once,
    a_reused_key_is_an_error,
    nobody_spends_what_is_not_there,
    two_jobs_cannot_spend_one_balance,
    a_task_is_paid_whole_and_once,
    a_free_task_moves_no_money,
    what_is_left_comes_back,
    the_check_finds_what_is_wrong,
    random_work_keeps_the_ledger_sound,
);

async fn complete(db: &Db, paid: PaidTask) -> Result<Micros, Error> {
    db.write(move |conn| {
        Box::pin(async move {
            let reward = store::pay_task(conn, &paid, NOW).await?;
            insert_completed(conn, &paid, reward).await?;
            Ok(reward)
        })
    })
    .await
}

async fn end_job(db: &Db, network: Network, job: JobId) -> Micros {
    db.write(move |conn| {
        Box::pin(async move {
            sqlx::query("UPDATE jobs SET status = 'cancelled', ended_at = $2 WHERE id = $1")
                .bind(job.to_string())
                .bind(NOW.0)
                .execute(&mut *conn)
                .await?;
            store::refund_job(conn, job, network.creator, NOW).await
        })
    })
    .await
    .unwrap()
}

async fn a_credit_is_given_once(place: Place) {
    let db = place.open().await;
    let network = Network::with_credit(&db, 0).await;
    let creator = network.creator;
    for given in [true, false] {
        let made = db
            .write(move |conn| Box::pin(store::credit(conn, creator, "gift", Micros(500), NOW)))
            .await
            .unwrap();
        assert_eq!(made, given);
    }
    assert_eq!((held(&db, Book::Account(creator)).await, held(&db, Book::Issued).await), (500, -500));
    let refused = db.write(move |conn| Box::pin(store::credit(conn, creator, "none", Micros(0), NOW))).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    assert_eq!(findings(&db).await, []);
}

async fn a_reused_key_is_an_error(place: Place) {
    let db = place.open().await;
    let network = Network::with_credit(&db, 100).await;
    let other =
        db.write(move |conn| Box::pin(store::credit(conn, network.creator, "first", Micros(101), NOW))).await;
    assert!(matches!(other, Err(Error::Conflict { .. })), "{other:?}");
    let other = db
        .write(move |conn| Box::pin(store::credit(conn, network.provider, "first", Micros(100), NOW)))
        .await;
    assert!(matches!(other, Err(Error::Conflict { .. })), "{other:?}");
    assert_eq!(held(&db, Book::Account(network.creator)).await, 100);
    assert_eq!(held(&db, Book::Account(network.provider)).await, 0);
}

async fn nobody_spends_what_is_not_there(place: Place) {
    let db = place.open().await;
    let network = Network::with_credit(&db, 100).await;
    let refused = network.job(&db, 1, 101).await;
    assert!(matches!(refused, Err(Error::InsufficientFunds(_))), "{refused:?}");
    assert_eq!(held(&db, Book::Account(network.creator)).await, 100);
    let (job, _) = network.job(&db, 1, 100).await.unwrap();
    assert_eq!(held(&db, Book::Account(network.creator)).await, 0);
    assert_eq!(held(&db, Book::Escrow(job)).await, 100);
}

async fn two_jobs_cannot_spend_one_balance(place: Place) {
    let db = place.open().await;
    let network = Network::with_credit(&db, 100).await;
    let jobs: Vec<_> = (0..8)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move { network.job(&db, 1, 60).await })
        })
        .collect();
    let mut escrowed = 0;
    for job in jobs {
        match job.await.unwrap() {
            Ok(_) => escrowed += 1,
            Err(refused) => assert!(matches!(refused, Error::InsufficientFunds(_)), "{refused:?}"),
        }
    }
    assert_eq!((escrowed, held(&db, Book::Account(network.creator)).await), (1, 40));
    assert_eq!(findings(&db).await, []);
}

async fn a_task_is_paid_whole_and_once(place: Place) {
    let db = place.open().await;
    let network = Network::with_credit(&db, 1_000).await;
    let (job, tasks) = network.job(&db, 2, 99).await.unwrap();
    let paid = network.paid(job, tasks[0], 99);
    assert_eq!(complete(&db, paid).await.unwrap(), Micros(80));
    let again = db.write(move |conn| Box::pin(async move { store::pay_task(conn, &paid, NOW).await })).await;
    assert_eq!(again.unwrap(), Micros(80));
    let other_attempt = network.paid(job, tasks[0], 99);
    let other =
        db.write(move |conn| Box::pin(async move { store::pay_task(conn, &other_attempt, NOW).await })).await;
    assert!(matches!(other, Err(Error::Conflict { .. })), "{other:?}");
    assert_eq!(held(&db, Book::Account(network.provider)).await, 80);
    assert_eq!(held(&db, Book::Fees).await, 19);
    assert_eq!(held(&db, Book::Escrow(job)).await, 99);
    let earned = store::earned(&mut db.read().await.unwrap(), network.worker, "EUR").await.unwrap();
    assert_eq!((earned.earnings_micros, earned.points), (Micros(80), 6));
    assert_eq!(findings(&db).await, []);
}

async fn a_free_task_moves_no_money(place: Place) {
    let db = place.open().await;
    let network = Network::with_credit(&db, 0).await;
    let (job, tasks) = network.job(&db, 1, 0).await.unwrap();
    assert_eq!(complete(&db, network.paid(job, tasks[0], 0)).await.unwrap(), Micros(0));
    let transfers: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM transfers")
        .fetch_one(&mut *db.read().await.unwrap())
        .await
        .unwrap();
    assert_eq!(transfers, 0);
    assert_eq!(findings(&db).await, []);
}

async fn what_is_left_comes_back(place: Place) {
    let db = place.open().await;
    let network = Network::with_credit(&db, 1_000).await;
    let (job, tasks) = network.job(&db, 3, 100).await.unwrap();
    complete(&db, network.paid(job, tasks[0], 100)).await.unwrap();
    assert_eq!(end_job(&db, network, job).await, Micros(200));
    assert_eq!(end_job(&db, network, job).await, Micros(0));
    assert_eq!(held(&db, Book::Escrow(job)).await, 0);
    assert_eq!(held(&db, Book::Account(network.creator)).await, 900);
    assert_eq!(findings(&db).await, []);
}

async fn the_check_finds_what_is_wrong(place: Place) {
    let db = place.open().await;
    let network = Network::with_credit(&db, 1_000).await;
    let (job, tasks) = network.job(&db, 2, 100).await.unwrap();
    complete(&db, network.paid(job, tasks[0], 100)).await.unwrap();
    let unpaid = network.paid(job, tasks[1], 100);
    db.write(move |conn| {
        Box::pin(async move {
            insert_completed(conn, &unpaid, Micros(80)).await?;
            sqlx::query("UPDATE jobs SET status = 'completed', ended_at = $2 WHERE id = $1")
                .bind(job.to_string())
                .bind(NOW.0)
                .execute(&mut *conn)
                .await?;
            let overdrawn = NewTransfer {
                key: "test".to_owned(),
                kind: TransferKind::Refund,
                from: Book::Fees,
                to: Book::Account(network.creator),
                amount: Micros(25),
                worker_id: None,
                attempt_id: None,
            };
            store::transfer(conn, overdrawn, NOW).await
        })
    })
    .await
    .unwrap();
    let expected = [
        Finding::BelowZero { book: "fees".to_owned(), balance: Micros(-5) },
        Finding::EscrowLeft { job: job.to_string(), balance: Micros(100) },
        Finding::Paid { job: job.to_string(), cost: Micros(200), paid: Micros(100) },
        Finding::Reward { attempt: unpaid.attempt_id.to_string(), said: Micros(80), paid: Micros(0) },
    ];
    assert_eq!(findings(&db).await, expected);
}

async fn random_work_keeps_the_ledger_sound(place: Place) {
    let db = place.open().await;
    let mut dice = Dice(20_261_123);
    let network = Network::with_credit(&db, 10_000).await;
    let mut open: Vec<(JobId, i64, Vec<TaskId>)> = Vec::new();
    let mut said: Vec<PaidTask> = Vec::new();
    for step in 0..150_i64 {
        match dice.below(10) {
            0..=2 => {
                let (tasks, cost) = (1 + dice.below(5) as i64, dice.below(700) as i64);
                match network.job(&db, tasks, cost).await {
                    Ok((job, tasks)) => open.push((job, cost, tasks)),
                    Err(refused) => assert!(matches!(refused, Error::InsufficientFunds(_)), "{refused:?}"),
                }
            }
            3..=6 if !open.is_empty() => {
                let at = dice.below(open.len() as u64) as usize;
                let (job, cost, tasks) = &mut open[at];
                if let Some(task) = tasks.pop() {
                    let paid = network.paid(*job, task, *cost);
                    complete(&db, paid).await.unwrap();
                    said.push(paid);
                }
            }
            7 if !said.is_empty() => {
                let paid = said[dice.below(said.len() as u64) as usize];
                db.write(move |conn| Box::pin(async move { store::pay_task(conn, &paid, NOW).await }))
                    .await
                    .unwrap();
            }
            8 if !open.is_empty() => {
                let (job, ..) = open.swap_remove(dice.below(open.len() as u64) as usize);
                end_job(&db, network, job).await;
            }
            _ => {
                let key = format!("more-{}", step / 2);
                let amount = Micros(1 + step / 2);
                let creator = network.creator;
                db.write(move |conn| {
                    let key = key.clone();
                    Box::pin(async move { store::credit(conn, creator, &key, amount, NOW).await })
                })
                .await
                .unwrap();
            }
        }
        assert_eq!(findings(&db).await, [], "after step {step}");
    }
    let books = [Book::Account(network.creator), Book::Account(network.provider), Book::Fees, Book::Issued];
    let mut total: i64 = 0;
    for book in books {
        total += held(&db, book).await;
    }
    for (job, ..) in open {
        total += held(&db, Book::Escrow(job)).await;
    }
    assert_eq!(total, 0, "money was made or lost");
}
