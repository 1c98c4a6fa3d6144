//! What the fuzz targets assert, without a fuzzer: over every golden, over goldens with a few bytes changed, over what a
//! fuzzer once found (`fuzz/found`), and over random bytes.

#[path = "../fuzz/probes.rs"]
mod probes;

use std::path::{Path, PathBuf};

use celeriac_protocol::json::scan::{Kind, Scanner};
use proptest::prelude::*;

type Probe = fn(&[u8]);

const PROBES: [(&str, Probe); 12] = [
    ("headers", probes::headers),
    ("properties", probes::properties),
    ("body", probes::body),
    ("signature", probes::signature),
    ("json", probes::json),
    ("content", probes::content),
    ("task_meta", probes::task_meta),
    ("event", probes::event),
    ("control", probes::control),
    ("compression", probes::compression),
    ("protocol1", probes::protocol1),
    ("repr", probes::repr),
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Every part of every golden: texts as what they stand for, everything else as its JSON.
fn goldens() -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    for entry in std::fs::read_dir(folder("../../interop/goldens/celery-5.7.0")).expect("there are goldens") {
        let text = std::fs::read(entry.expect("it can be listed").path()).expect("it can be read");
        let mut scanner = Scanner::new(&text, "goldens");
        let read = scanner.members(|scanner, key| {
            if key != "cases" {
                return scanner.value().map(|_| ());
            }
            scanner.elements(|scanner| {
                scanner.members(|scanner, _| {
                    parts.push(if scanner.kind()? == Kind::String {
                        scanner.decoded_string()?.into_bytes()
                    } else {
                        scanner.slice()?.to_vec()
                    });
                    Ok(())
                })
            })
        });
        read.expect("goldens parse");
    }
    assert!(parts.len() > 1_000, "only {} parts", parts.len());
    parts
}

#[test]
fn every_probe_holds_for_every_golden() {
    for part in goldens() {
        for (_, probe) in PROBES {
            probe(&part);
        }
    }
}

#[test]
fn what_a_fuzzer_found_stays_mended() {
    let mut seen = 0;
    for (target, probe) in PROBES {
        let Ok(found) = std::fs::read_dir(folder("fuzz/found").join(target)) else { continue };
        for entry in found {
            probe(&std::fs::read(entry.expect("it can be listed").path()).expect("it can be read"));
            seen += 1;
        }
    }
    assert!(seen > 0, "nothing in fuzz/found");
}

#[test]
fn there_is_a_fuzz_target_for_each_probe() {
    let mut targets: Vec<_> = std::fs::read_dir(folder("fuzz/fuzz_targets"))
        .expect("there are targets")
        .map(|entry| entry.expect("it can be listed").path().file_stem().expect("it has a name").to_owned())
        .collect();
    targets.sort();
    let mut probes: Vec<_> = PROBES.iter().map(|(name, _)| std::ffi::OsString::from(name)).collect();
    probes.sort();
    assert_eq!(targets, probes);
}

proptest! {
    // What fails is kept in `fuzz/found`, by hand and under a name.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_probe_holds_for_random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for (_, probe) in PROBES {
            probe(&bytes);
        }
    }

    #[test]
    fn every_probe_holds_for_what_is_nearly_json(text in r#"[\[\]{}",:0-9a-zN\\ e.+-]{0,60}"#) {
        for (_, probe) in PROBES {
            probe(text.as_bytes());
        }
    }

    #[test]
    fn every_probe_holds_for_spoilt_goldens(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        end in any::<prop::sample::Index>(),
    ) {
        thread_local!(static GOLDENS: Vec<Vec<u8>> = goldens());
        let mut part = GOLDENS.with(|goldens| which.get(goldens).clone());
        if !part.is_empty() {
            for (place, byte) in changes {
                let place = place.index(part.len());
                part[place] = byte;
            }
            // Cut off one time in two.
            let end = end.index(part.len() * 2).min(part.len());
            for (_, probe) in PROBES {
                probe(&part);
                probe(&part[..end]);
            }
        }
    }
}
