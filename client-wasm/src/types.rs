//! `web/src/client/view.ts`, what the pages read, is made here from our types. `UPDATE_DOCS=1` writes it anew.

use crate::{
    moves::Moves,
    refusal::{Outcome, Refusal},
    sale::Stage,
    state::ConnectionView,
    steady::Chance,
    view::{Clocked, Countdown, DrawView, Journey, Line, Note, OrderView, Stock, View},
};
use flashsale_draw_check::Checked;
use flashsale_protocol::{
    Allocation, DrawWeight, OpeningOrder, OrderId, OrderStatus, Outlook, PaymentsBy, Phase, Reason, Role,
    SaleId, SaleInfo, ShopCommand,
    draw::{Hash, Key},
};
use ts_rs::{Config, TS};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../web/src/client/view.ts");

fn declaration<T: TS>(config: &Config) -> String {
    let text = format!("{}export {}\n", T::docs().unwrap_or_default(), T::decl(config));
    // It ends lines with a space.
    text.replace(" \n", "\n")
}

fn types() -> String {
    // Times, amounts and counts are below 2^53.
    let config = Config::new().with_large_int("number");
    macro_rules! declarations {
        ($($name:ty),+ $(,)?) => { [$(declaration::<$name>(&config)),+] };
    }
    let declarations = declarations![
        View,
        Journey,
        ConnectionView,
        SaleInfo,
        Countdown,
        Stock,
        Line,
        Moves,
        Chance,
        DrawView,
        Stage,
        Clocked,
        OrderView,
        Note,
        Refusal,
        Outcome,
        Checked,
        Phase,
        Outlook,
        Allocation,
        DrawWeight,
        OpeningOrder,
        PaymentsBy,
        OrderStatus,
        Role,
        SaleId,
        OrderId,
        Reason,
        Hash,
        Key,
    ];
    let verbs: Vec<String> = ShopCommand::VERBS
        .iter()
        .map(|verb| format!("{verb:?}"))
        .collect();
    format!(
        "/**\n * What the client says of one sale. Times are milliseconds since 1970 by the server's clock, money is in minor units.\n \
         * Made from the types in client-wasm/src by client-wasm/src/types.rs: do not edit. UPDATE_DOCS=1 writes it anew.\n */\n\n\
         {}\n/** A command's word. */\nexport type Verb = {};\n",
        declarations.join("\n"),
        verbs.join(" | ")
    )
}

#[test]
fn the_committed_file_of_types_is_what_the_types_are_today() {
    let types = types();
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
