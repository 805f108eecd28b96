//! `web/src/client/bodies.ts`, what the pages read over REST, is made here from our types. `UPDATE_DOCS=1` writes it anew.

use crate::{
    admin::{
        command::Versioned,
        fairness::{ChiSquare, Fairness, Weight},
        metrics::{CarriedView, Metrics},
        recovery::DisasterView,
    },
    rest::{
        pictures::{PictureFile, PictureView},
        sales::SaleView,
    },
};
use ts_rs::{Config, TS};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../web/src/client/bodies.ts");

fn declaration<T: TS>(config: &Config) -> String {
    let text = format!("{}export {}\n", T::docs().unwrap_or_default(), T::decl(config));
    // It ends lines with a space.
    text.replace(" \n", "\n")
}

#[test]
fn the_committed_file_of_types_is_what_the_types_are_today() {
    // Times, amounts and counts are below 2^53.
    let config = Config::new().with_large_int("number");
    macro_rules! declarations {
        ($($name:ty),+ $(,)?) => { [$(declaration::<$name>(&config)),+] };
    }
    let declarations = declarations![
        SaleView,
        PictureView,
        PictureFile,
        Versioned<SaleView>,
        Metrics,
        CarriedView,
        DisasterView,
        Fairness,
        Weight,
        ChiSquare,
    ];
    let types = format!(
        "/**\n * What the pages read over REST (docs: /openapi.json).\n \
         * Made from the types in server/src by server/src/types.rs: do not edit. UPDATE_DOCS=1 writes it anew.\n */\n\n\
         import type {{ Allocation, DrawWeight, OpeningOrder, PaymentsBy, Phase, SaleId }} from \"./view\";\n\n{}",
        declarations.join("\n"),
    );
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(FILE, &types).expect("written");
    }
    let committed = std::fs::read_to_string(FILE).expect("a file");
    let differs = committed
        .lines()
        .zip(types.lines())
        .find(|(before, now)| before != now);
    assert!(committed == types, "{differs:?}: `make docs` writes it anew");
}
