//! What the project says of itself is so: the files that are made from the code, and the house rules that a machine
//! can check.

use clap::Args;
use flashsale::config::Serve;
use flashsale_engine::stock::SCRIPTS;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A file of code has one purpose. A test's may be long: it is read from one place.
const CODE_LINES: usize = 600;
const TEST_LINES: usize = 1_500;

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Path (from the root) and text of every source file under a folder.
pub fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}")) {
        let entry = entry.expect("an entry");
        let path = format!("{folder}/{}", entry.file_name().display());
        if entry.file_type().expect("a type").is_dir() {
            found.extend(sources(&path));
        } else if ["rs", "lua", "ts", "sql"]
            .iter()
            .any(|kind| path.ends_with(&format!(".{kind}")))
        {
            found.push((path.clone(), read(&path)));
        }
    }
    found
}

/// Compares a file that is made from the code with what would be made now; UPDATE_DOCS=1 writes it.
pub fn is_up_to_date(path: &str, now: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(root().join(path), now).expect("writes");
    }
    let committed = fs::read_to_string(root().join(path)).unwrap_or_default();
    let differs = committed
        .lines()
        .zip(now.lines())
        .find(|(before, now)| before != now);
    assert!(
        committed == now,
        "{path} is out of date: run the tests once with UPDATE_DOCS=1. First difference: {differs:?}"
    );
}

// -------------------------------------------------------------------------------------------------------- who knows whom

/// The modules of our own crate that a file names.
fn imports(source: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for (at, start) in source.match_indices("crate::") {
        let rest = &source[at + start.len()..];
        match rest.strip_prefix('{') {
            None => {
                found.insert(first_word(rest));
            }
            Some(tree) => {
                let mut depth = 0;
                let mut start = 0;
                for (i, c) in tree.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => {
                            found.insert(first_word(&tree[start..i]));
                            break;
                        }
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            found.insert(first_word(&tree[start..i]));
                            start = i + 1;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

fn first_word(text: &str) -> &str {
    let text = text.trim_start();
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    &text[..end.unwrap_or(text.len())]
}

#[test]
fn nobody_imports_against_the_direction() {
    assert_eq!(
        imports("use crate::{app::App, rest::{Json, x}, z};\ncrate::sale::ms(1)"),
        ["app", "rest", "sale", "z"].into()
    );
    // Where, and what must not be known there. What the engine must not know of the doors, its Cargo.toml says; and that nothing
    // is known in a circle, `circles.rs`.
    let rules = [
        ("engine/src/command/", "worker"),
        ("engine/src/settle/", "command worker"),
        ("engine/src/stock/", "command worker settle store live shop"),
        ("engine/src/store/", "command worker settle stock live shop"),
        ("engine/src/live.rs", "command worker settle store shop"),
        (
            "engine/src/payment/",
            "command worker settle store stock live shop",
        ),
        (
            "engine/src/sale.rs",
            "command worker settle store stock live shop",
        ),
        (
            "engine/src/batcher.rs",
            "command worker settle store stock live shop",
        ),
        ("server/src/rest/", "admin demo"),
        ("server/src/admin/", "gateway demo"),
        ("server/src/gateway/shard/", "app rest admin demo"),
    ];
    for (place, forbidden) in rules {
        let files: Vec<_> = sources("engine/src")
            .into_iter()
            .chain(sources("server/src"))
            .filter(|(path, _)| path.starts_with(place))
            .collect();
        assert!(!files.is_empty(), "{place} is not there any more");
        for (path, source) in files {
            let known = imports(&source);
            let wrong: Vec<&str> = forbidden.split(' ').filter(|name| known.contains(name)).collect();
            assert!(wrong.is_empty(), "{path} must not know of {wrong:?}");
        }
    }
}

/// The libraries that open or serve sockets: with none of them among its own, the engine cannot name one.
#[test]
fn the_engine_has_no_doors() {
    let manifest = read("engine/Cargo.toml");
    for library in ["axum", "hyper", "tower", "tungstenite"] {
        assert!(!manifest.contains(library), "{library}");
    }
}

#[test]
fn sql_redis_http_and_the_environment_each_have_their_place() {
    let books = "engine/src/payment/sandbox/books.rs";
    let rules: [(&str, &[&str]); 8] = [
        (
            "axum::",
            &["server/src/gateway/", "server/src/rest/", "server/src/admin/"],
        ),
        (
            "sqlx::query",
            &["engine/src/store/", books, "server/src/embedded.rs"],
        ),
        (
            "sqlx::",
            &[
                "engine/src/store/",
                books,
                "engine/src/error.rs",
                "server/src/embedded.rs",
            ],
        ),
        (
            "fred::",
            &[
                "engine/src/stock",
                "engine/src/live.rs",
                "engine/src/error.rs",
                "server/src/gateway/hub.rs",
                "server/src/embedded.rs",
            ],
        ),
        (
            "env::var",
            &[
                "server/src/config.rs",
                "server/src/embedded.rs",
                "engine/src/mutation.rs",
                "server/src/types.rs", // a test
            ],
        ),
        (".route(", &["server/src/gateway/openapi.rs"]),
        ("SystemTime", &["engine/src/clock.rs"]),
        ("Utc::now", &["engine/src/clock.rs"]),
    ];
    for (path, source) in sources("engine/src").into_iter().chain(sources("server/src")) {
        for (text, places) in rules {
            let allowed = places.iter().any(|place| path.starts_with(place));
            assert!(
                allowed || !source.contains(text),
                "{path} has {text}; its place is {places:?}"
            );
        }
    }
    for (path, source) in sources("protocol/src") {
        for text in ["tokio", "std::net", "std::time", "std::fs", "std::env"] {
            assert!(!source.contains(text), "{path} has {text}: the protocol is pure");
        }
    }
}

// ------------------------------------------------------------------------------------------------------------- scripts

/// The names in a header's line, without what stands in brackets: fixed ones, and those of each item of a batch.
fn header_names(script: &str, label: &str) -> (Vec<String>, Vec<String>) {
    let line = script
        .lines()
        .find_map(|line| line.strip_prefix(&format!("-- {label}: ")));
    let mut plain = String::new();
    let mut depth = 0;
    for c in line.unwrap_or_else(|| panic!("no {label} in the header")).chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            c if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    let (fixed, items) = plain.split_once("per item:").unwrap_or((&plain, ""));
    let names = |text: &str| {
        let words = text
            .split(',')
            .map(|name| name.trim().trim_end_matches(" then").trim());
        words
            .filter(|name| !name.is_empty() && *name != "then")
            .map(str::to_owned)
            .collect()
    };
    (names(fixed), names(items))
}

/// The locals that are bound to `KEYS[n]` or `ARGV[n]`, by n.
fn bindings(script: &str, table: &str) -> Vec<String> {
    let mut bound = Vec::new();
    for line in script.lines().filter_map(|line| line.strip_prefix("local ")) {
        let Some((names, values)) = line.split_once(" = ") else {
            continue;
        };
        let pairs: Vec<(&str, &str)> = names.split(", ").zip(values.split(", ")).collect();
        bound.extend(pairs.into_iter().filter_map(|(name, value)| {
            let index = value.split_once(&format!("{table}["))?.1.split_once(']')?.0;
            Some((index.parse::<usize>().ok()?, name.to_owned()))
        }));
    }
    bound.sort();
    for (i, (index, name)) in bound.iter().enumerate() {
        assert_eq!(
            *index,
            i + 1,
            "{name}: {table} are bound once each, without a gap"
        );
    }
    bound.into_iter().map(|(_, name)| name).collect()
}

#[test]
fn every_script_s_header_says_what_the_script_takes_and_what_rust_passes() {
    let files: BTreeSet<String> = sources("lua")
        .into_iter()
        .filter_map(|(path, _)| Some(path.strip_prefix("lua/")?.strip_suffix(".lua")?.to_owned()))
        .filter(|name| !name.contains('/'))
        .collect();
    let listed: BTreeSet<String> = SCRIPTS.iter().map(|script| script.name.to_owned()).collect();
    assert_eq!(files, listed, "lua/ and the list in stock.rs");
    for script in SCRIPTS {
        let name = script.name;
        let text = read(&format!("lua/{name}.lua"));
        assert!(
            text.starts_with(&format!("-- {name}: ")),
            "{name}: the header begins with the name"
        );
        for part in ["-- Returns: ", "-- Atomic because "] {
            assert!(text.contains(part), "{name}: no {part:?}");
        }
        let (keys, _) = header_names(&text, "KEYS");
        assert_eq!(keys, script.keys, "{name}: KEYS of the header and of stock.rs");
        assert_eq!(
            bindings(&text, "KEYS").len(),
            keys.len(),
            "{name}: KEYS that are bound"
        );
        let (fixed, items) = header_names(&text, "ARGV");
        assert_eq!(
            bindings(&text, "ARGV"),
            fixed,
            "{name}: ARGV of the header and the locals"
        );
        let width = text.lines().find_map(|line| line.strip_prefix("local ITEM = "));
        let width = width.map_or(items.len().min(1), |width| width.parse().expect("a number"));
        assert_eq!(width, items.len(), "{name}: the width of an item is {items:?}");
    }
}

// ------------------------------------------------------------------------------------------------------------ settings

/// Every argument of `flashsale serve` that the environment can set. `token` and `services` take some of the same.
fn settings() -> Vec<clap::Arg> {
    let command = Serve::augment_args(clap::Command::new("serve"));
    command
        .get_arguments()
        .filter(|arg| arg.get_env().is_some())
        .cloned()
        .collect()
}

fn variable(setting: &clap::Arg) -> String {
    setting.get_env().expect("has one").display().to_string()
}

#[test]
fn the_sample_of_the_environment_is_what_the_server_reads() {
    let mut sample = String::from(
        "# Every setting of `flashsale serve`, with its default; `token` and `services` read those that concern them.\n\
         # Made from server/src/config.rs by server/tests/it/tidy.rs: UPDATE_DOCS=1 writes it anew.\n\
         # Copy it to .env, take away the # of what you change, and load it: set -a; . ./.env; set +a\n",
    );
    for setting in settings() {
        let help = setting.get_help().expect("a help text");
        let defaults: Vec<String> = setting
            .get_default_values()
            .iter()
            .map(|value| value.display().to_string())
            .collect();
        let flag = !setting.get_action().takes_values();
        let default = if flag { "false".into() } else { defaults.join(",") };
        let values: Vec<String> = setting
            .get_possible_values()
            .iter()
            .map(|value| value.get_name().to_owned())
            .collect();
        let values = if values.is_empty() || flag {
            String::new()
        } else {
            format!(" One of: {}.", values.join(", "))
        };
        sample += &format!("\n# {help}.{values}\n#{}={default}\n", variable(&setting));
    }
    is_up_to_date(".env.sample", &sample);
    assert!(
        !read("server/src/main.rs").contains("env ="),
        "a setting that is not in the sample"
    );
}

#[test]
fn settings_that_are_named_anywhere_exist() {
    let known: BTreeSet<String> = settings().iter().map(variable).collect();
    for path in [
        "README.md",
        "ARCHITECTURE.md",
        "docs/protocol.md",
        "docker-compose.yml",
        "Dockerfile",
    ] {
        // What stands in ${…} is compose's own.
        for word in read(path)
            .replace("${FLASHSALE_", "${")
            .split(|c: char| !(c.is_ascii_uppercase() || c == '_'))
        {
            assert!(
                !word.starts_with("FLASHSALE_") || known.contains(word),
                "{path} names {word}"
            );
        }
    }
}

// --------------------------------------------------------------------------------------------------------------- pages

#[test]
fn links_and_paths_in_the_pages_lead_somewhere() {
    for page in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "STYLE.md",
        "CHANGELOG.md",
        "docs/audit.md",
        "docs/protocol.md",
    ] {
        let text = read(page);
        let folder = Path::new(page).parent().expect("a folder");
        for (at, mark) in text.match_indices("](") {
            let target = text[at + mark.len()..]
                .split([')', '#'])
                .next()
                .expect("a target");
            let outside = target.is_empty() || target.contains("://");
            assert!(
                outside || root().join(folder).join(target).exists(),
                "{page} links to {target}"
            );
        }
    }
    let architecture = read("ARCHITECTURE.md");
    assert!(
        architecture.lines().count() <= 150,
        "ARCHITECTURE.md is a bird's-eye view"
    );
    for page in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = read(page);
        let quoted = text.split('`').skip(1).step_by(2);
        let paths = quoted.filter(|word| {
            word.contains('/') && !word.starts_with(['/', '+']) && !word.contains([' ', '{', '<', '='])
        });
        for path in paths.filter(|path| !path.contains("/xx.")) {
            assert!(
                ["", "server/", "server/src/", "engine/src/", "engine/src/store/"]
                    .iter()
                    .any(|folder| root().join(folder).join(path).exists()),
                "{page} names {path}"
            );
        }
    }
}

#[test]
fn files_are_short_enough_to_read_and_nothing_is_left_for_later() {
    // In two halves, so that this file has neither.
    let later = [concat!("TO", "DO"), concat!("FIX", "ME")];
    for folder in [
        "protocol/src",
        "engine/src",
        "server/src",
        "server/tests",
        "client-wasm/src",
        "draw-check/src",
        "loadtest/src",
        "lua",
        "migrations",
        "web/src",
        "web/test",
        "web/e2e",
    ] {
        for (path, source) in sources(folder) {
            let lines = source.lines().count();
            let is_test = ["/tests/", "/tests.rs", "/test/", "/e2e/"]
                .iter()
                .any(|part| path.contains(part));
            let is_made = path.contains("/wasm/");
            let most = if is_test || is_made {
                TEST_LINES
            } else {
                CODE_LINES
            };
            assert!(lines <= most, "{path} has {lines} lines: cut it at a seam");
            for word in later {
                assert!(!source.contains(word), "{path} has a {word}");
            }
        }
    }
}
