//! Encryption, as `sslmode` says. The certificates in `tests/tls` are for tests alone, made once for a hundred years.

mod support;

use std::path::PathBuf;

use celeriac_core::{Clock, ErrorKind};
use celeriac_postgres::{Config, PostgresEngine};
use celeriac_testbed::Postgres;
use support::{run, task};

fn pem(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

#[test]
fn the_server_is_believed_as_far_as_sslmode_says() {
    let server = Postgres::own_with_tls(&pem("server.pem"), &pem("server.key"));
    let (authority, stranger) = (pem("authority.pem"), pem("stranger.pem"));
    let (authority, stranger) = (authority.display(), stranger.display());
    // The certificate is for `localhost`, not for 127.0.0.1.
    let open = async |host: &str, options: String| {
        let url = format!("postgresql://tester@{host}:{}/postgres?{options}", server.port());
        PostgresEngine::open(Config::from_url(&url).unwrap(), Clock::system()).await
    };
    run(async {
        for (host, options) in [
            ("127.0.0.1", "sslmode=prefer".to_owned()),
            ("127.0.0.1", "sslmode=require".to_owned()),
            ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={authority}")),
            ("localhost", format!("sslmode=verify-full&sslrootcert={authority}")),
        ] {
            let engine = open(host, options.clone()).await.unwrap_or_else(|error| panic!("{options}: {error}"));
            engine.broker().publish(vec![task("a")]).await.unwrap();
            let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                             WHERE application_name = 'celeriac'";
            assert_eq!(server.sql("postgres", encrypted), "t", "{options}");
            engine.close().await.unwrap();
        }
        let engine = open("127.0.0.1", "sslmode=disable".to_owned()).await.unwrap();
        engine.close().await.unwrap();
        for (host, options) in [
            ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={authority}")),
            ("localhost", format!("sslmode=verify-full&sslrootcert={stranger}")),
            ("localhost", format!("sslmode=verify-ca&sslrootcert={stranger}")),
            ("localhost", format!("sslmode=require&sslrootcert={stranger}")),
            ("localhost", "sslmode=verify-full".to_owned()),
        ] {
            let error = open(host, options.clone()).await.expect_err(&options);
            assert_eq!(error.kind(), ErrorKind::Denied, "{options}: {error}");
            assert!(error.to_string().contains("certificate"), "{options}: {error}");
        }
    });
}
