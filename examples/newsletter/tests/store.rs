//! The store by itself, the same on SQLite and on PostgreSQL: several processes at once, notes in any order, odd text, and
//! what is said when it cannot be used.

mod support;

use std::collections::HashMap;

use anyhow::Context as _;
use celeriac::core::{TaskId, Timestamp};
use celeriac_testbed::{Postgres, free_port};
use futures_util::future::{join_all, try_join_all};
use newsletter::{
    mail::{Letter, Mail},
    store::{CLAIMED_FOR, Errand, Progress, Registered, Store},
};
use support::{Kept, outbox};

/// How many do the same at the same time.
const CROWD: usize = 16;
const SEND: &str = "a send";
const ANN: &str = "ann@example.com";
const BOB: &str = "bob@example.com";

on_both! {
    many_processes_find_a_new_store_at_once
    an_address_is_one_reader_whatever_its_case_and_the_first_of_a_list_counts
    lists_signed_up_at_the_same_time_add_up
    of_many_tasks_one_gets_a_mail_until_its_time_is_over
    a_mail_is_counted_once_however_many_note_it_at_once
    many_mails_noted_at_once_are_all_counted
    whoever_failed_may_still_get_it_and_whoever_left_does_not
    a_reader_who_comes_back_in_other_letters_is_counted_once
    text_from_outside_is_only_text
    a_store_of_a_newer_program_is_refused
}

fn now() -> Timestamp {
    "2026-11-26T12:00:00Z".parse().expect("an instant")
}

fn task(name: impl std::fmt::Display) -> TaskId {
    TaskId::new(format!("task-{name}")).expect("a task id")
}

fn letter() -> Letter {
    Letter { subject: "Hi".into(), body: "Hello".into() }
}

/// A store whose send goes to these.
async fn begun(kept: &Kept, emails: &[&str]) -> anyhow::Result<Store> {
    let store = kept.store().await?;
    store.register_all(emails.iter().map(|email| ((*email).to_owned(), "N".to_owned())).collect()).await?;
    assert_eq!(store.begin(SEND.into(), letter(), now()).await?, emails);
    Ok(store)
}

async fn errand(store: &Store, email: &str, task: TaskId) -> anyhow::Result<Errand> {
    store.errand(SEND.into(), email.into(), task, now()).await
}

/// The mail that a task gets to deliver.
async fn mail(store: &Store, email: &str) -> anyhow::Result<Mail> {
    match errand(store, email, task("mail")).await? {
        Errand::Deliver(letter, reader) => Ok(outbox()?.mail(SEND, &letter, &reader)),
        other => anyhow::bail!("{other:?}"),
    }
}

async fn progress(store: &Store) -> anyhow::Result<Progress> {
    store.progress(SEND.into()).await?.context("the send is known")
}

async fn many_processes_find_a_new_store_at_once(kept: Kept) -> anyhow::Result<()> {
    let stores = try_join_all((0..CROWD).map(|_| kept.store())).await?;
    stores[0].register(ANN.into(), "Ann".into()).await?;
    assert_eq!(stores[CROWD - 1].count().await?, 1);
    Ok(())
}

async fn an_address_is_one_reader_whatever_its_case_and_the_first_of_a_list_counts(kept: Kept) -> anyhow::Result<()> {
    let store = kept.store().await?;
    let list = [("Ann@Example.com", "First"), (ANN, "Second"), (BOB, "Bob")];
    let list = list.map(|(email, name)| (email.to_owned(), name.to_owned())).to_vec();
    assert_eq!(store.register_all(list.clone()).await?, 2);
    assert_eq!(store.register_all(list).await?, 0);
    assert_eq!(store.register("ANN@EXAMPLE.COM".into(), "Third".into()).await?, Registered::Already);
    assert_eq!(store.begin(SEND.into(), letter(), now()).await?, ["Ann@Example.com", BOB]);
    match errand(&store, "Ann@Example.com", task(1)).await? {
        Errand::Deliver(_, reader) => assert_eq!(reader.name, "First"),
        other => anyhow::bail!("{other:?}"),
    }
    Ok(())
}

async fn lists_signed_up_at_the_same_time_add_up(kept: Kept) -> anyhow::Result<()> {
    let store = kept.store().await?;
    let list = |backwards: bool| {
        let mut list: Vec<_> = (0..2_000).map(|n| (format!("reader{n}@example.com"), String::new())).collect();
        if backwards {
            list.reverse();
        }
        list
    };
    let added = try_join_all((0..CROWD).map(|n| store.register_all(list(n % 2 == 0)))).await?;
    assert_eq!(added.iter().sum::<usize>(), 2_000);
    assert_eq!(store.count().await?, 2_000);
    Ok(())
}

async fn of_many_tasks_one_gets_a_mail_until_its_time_is_over(kept: Kept) -> anyhow::Result<()> {
    let store = begun(&kept, &[ANN]).await?;
    let errands = try_join_all((0..CROWD).map(|n| errand(&store, ANN, task(n)))).await?;
    let winners: Vec<usize> = (0..CROWD).filter(|n| matches!(errands[*n], Errand::Deliver(..))).collect();
    assert_eq!(winners.len(), 1, "{errands:?}");
    assert_eq!(errands.iter().filter(|errand| matches!(errand, Errand::Taken)).count(), CROWD - 1, "{errands:?}");
    let again = errand(&store, ANN, task(winners[0])).await?;
    assert!(matches!(again, Errand::Deliver(..)), "after a crash it comes back under its own id: {again:?}");
    let later = now().saturating_add(CLAIMED_FOR)?;
    let other = store.errand(SEND.into(), ANN.into(), task("other"), later).await?;
    assert!(matches!(other, Errand::Deliver(..)), "its time is over: {other:?}");
    Ok(())
}

async fn a_mail_is_counted_once_however_many_note_it_at_once(kept: Kept) -> anyhow::Result<()> {
    let store = begun(&kept, &[ANN, BOB]).await?;
    let mail = mail(&store, ANN).await?;
    for result in join_all((0..CROWD).map(|_| store.delivered(ANN.into(), mail.clone(), true))).await {
        result?;
    }
    let progress = progress(&store).await?;
    let repeats = u32::try_from(CROWD)? - 1;
    assert_eq!((progress.sent, progress.repeated, progress.is_done()), (1, repeats, false), "{progress:?}");
    let (count, mails) = store.outbox(5).await?;
    assert_eq!((count, mails.len()), (u32::try_from(CROWD)?, 5), "whatever went out is there");
    assert!(matches!(errand(&store, ANN, task("late")).await?, Errand::Delivered));
    Ok(())
}

async fn many_mails_noted_at_once_are_all_counted(kept: Kept) -> anyhow::Result<()> {
    let emails: Vec<String> = (100..400).map(|n| format!("reader{n}@example.com")).collect();
    let names: Vec<&str> = emails.iter().map(String::as_str).collect();
    let store = begun(&kept, &names).await?;
    let noted = emails.iter().enumerate().map(|(n, email)| {
        let store = &store;
        async move {
            match n % 3 {
                0 => store.failed(SEND.into(), email.clone(), "refused").await,
                1 => store.skipped(SEND.into(), email.clone()).await,
                _ => store.delivered(email.clone(), mail(store, email).await?, false).await,
            }
        }
    });
    let noted = try_join_all(noted).await?;
    let progress = progress(&store).await?;
    assert_eq!((progress.sent, progress.failed, progress.unsubscribed, progress.total), (100, 100, 100, 300));
    assert_eq!(
        noted.iter().filter(|progress| progress.is_done()).count(),
        1,
        "one of them is told that it was the last"
    );
    assert_eq!(store.outbox(1).await?.0, 0);
    Ok(())
}

async fn whoever_failed_may_still_get_it_and_whoever_left_does_not(kept: Kept) -> anyhow::Result<()> {
    let store = begun(&kept, &[ANN, BOB]).await?;
    mail(&store, ANN).await?;
    let failed = store.failed(SEND.into(), ANN.into(), "550 no such mailbox").await?;
    assert_eq!((failed.failed, failed.last_error.as_deref()), (1, Some("550 no such mailbox")));
    // Somebody runs the task again, under another id, at once.
    let mail = mail(&store, ANN).await?;
    let sent = store.delivered(ANN.into(), mail, false).await?;
    assert_eq!((sent.sent, sent.failed), (1, 0));

    let Errand::Deliver(_, bob) = errand(&store, BOB, task(1)).await? else { anyhow::bail!("Bob reads it") };
    assert!(store.unsubscribe(bob.token.clone()).await? && !store.unsubscribe(bob.token).await?);
    assert!(matches!(errand(&store, BOB, task(1)).await?, Errand::Unsubscribed));
    for _ in 0..2 {
        let skipped = store.skipped(SEND.into(), BOB.into()).await?;
        assert_eq!((skipped.unsubscribed, skipped.is_done()), (1, true));
    }
    assert!(matches!(errand(&store, BOB, task(1)).await?, Errand::Delivered));
    for _ in 0..2 {
        let later = now().saturating_add(std::time::Duration::from_millis(1_500))?;
        assert_eq!(store.summarize(SEND.into(), later).await?, "1 sent, 0 failed, 1 unsubscribed meanwhile, in 1.5 s");
    }
    Ok(())
}

async fn a_reader_who_comes_back_in_other_letters_is_counted_once(kept: Kept) -> anyhow::Result<()> {
    let store = begun(&kept, &[ANN]).await?;
    let Errand::Deliver(_, ann) = errand(&store, ANN, task(1)).await? else { anyhow::bail!("Ann reads it") };
    store.unsubscribe(ann.token).await?;
    store.register("ANN@example.com".into(), "Ann".into()).await?;
    let Errand::Deliver(letter, ann) = errand(&store, ANN, task(1)).await? else { anyhow::bail!("and is back") };
    assert_eq!(ann.email, "ANN@example.com");
    let progress = store.delivered(ANN.into(), outbox()?.mail(SEND, &letter, &ann), false).await?;
    assert_eq!((progress.sent, progress.total), (1, 1));
    Ok(())
}

async fn text_from_outside_is_only_text(kept: Kept) -> anyhow::Result<()> {
    let store = begun(&kept, &[ANN]).await?;
    for odd in ["", "a\0b", "'; DROP TABLE readers; --", "\u{fffd}\u{202e}", "$1", "?1", "NULL"] {
        assert!(store.progress(odd.into()).await?.is_none(), "{odd:?}");
        assert!(store.reader_with(odd.into()).await?.is_none() && !store.unsubscribe(odd.into()).await?, "{odd:?}");
        assert!(store.unqueued(odd.into()).await?.is_empty());
        store.queued(odd.into()).await?;
        let unknown = store.errand(odd.into(), odd.into(), task(1), now()).await?;
        assert!(matches!(unknown, Errand::Unknown), "{odd:?}: {unknown:?}");
        assert!(
            store.failed(odd.into(), ANN.into(), odd).await.is_err()
                && store.summarize(odd.into(), now()).await.is_err()
        );
    }
    let failed = store.failed(SEND.into(), ANN.into(), "a\0b'; \u{1f600}").await?;
    assert!(failed.last_error.is_some_and(|error| error.ends_with("b'; \u{1f600}")));
    assert_eq!(store.count().await?, 1);
    Ok(())
}

async fn a_store_of_a_newer_program_is_refused(kept: Kept) -> anyhow::Result<()> {
    kept.store().await?;
    match kept.database() {
        Some(database) => drop(database.sql("UPDATE newsletter.version SET steps = 99")),
        None => {
            rusqlite::Connection::open(kept.folder().join("readers.db"))?.pragma_update(None, "user_version", 99)?;
        }
    }
    let error = format!("{:#}", kept.store().await.err().context("it is newer")?);
    assert!(error.contains("version 99") && error.contains("newer program"), "{error}");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_used_is_said_in_a_line_without_the_password() -> anyhow::Result<()> {
    let kept = Kept::postgres();
    let (server, port) = (Postgres::shared().port(), free_port());
    let elsewhere = kept.url.rsplit_once('/').context("it names a database")?.0.replacen('@', ":s3cret@", 1);
    let cases = HashMap::from([
        (format!("postgresql://me:s3cret@127.0.0.1:{port}/users"), "users on 127.0.0.1:"),
        (format!("{elsewhere}/nowhere"), "database \"nowhere\" does not exist"),
        (format!("postgresql://me:s3cret@127.0.0.1:{server}/postgres"), "role \"me\" does not exist"),
        (format!("{}?sslmode=require", kept.url), "TLS"),
        ("postgresql://me:s3cret@127.0.0.1:port/users".into(), "postgresql://user:password@host:5432/database"),
        ("mysql://me:s3cret@127.0.0.1/users".into(), "begins with \"mysql\""),
        ("s3cret".into(), "sqlite://FILE"),
        ("sqlite:///no/such/folder/readers.db".into(), "/no/such/folder/readers.db"),
    ]);
    for (url, expected) in cases {
        let error = format!("{:#}", Store::connect(&url).await.err().context("it cannot be used")?);
        assert!(error.contains(expected), "{url}: {error}");
        for useless in ["s3cret", "\n", "a new object"] {
            assert!(!error.contains(useless), "{url}: {error}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_is_used_again_and_kept_what_it_promised() -> anyhow::Result<()> {
    let server = Postgres::own();
    let store = Store::connect(&server.url("postgres")).await?;
    store.register(ANN.into(), "Ann".into()).await?;
    store.begin(SEND.into(), letter(), now()).await?;
    server.crash();
    assert!(store.count().await.is_err());
    server.start();
    assert_eq!(store.count().await?, 1);
    assert_eq!(store.unqueued(SEND.into()).await?, [ANN]);
    Ok(())
}
