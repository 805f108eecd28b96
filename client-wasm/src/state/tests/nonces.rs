//! Every join of a sale brings one nonce of this page's own, which a reload keeps.

use super::{super::nonces::MAX_NONCES, *};

fn nonce_sent(page: &Page) -> Option<Nonce> {
    let sent = page.sent();
    let join = sent.iter().find(|sent| sent["type"] == "join").expect("a join");
    serde_json::from_value(join["nonce"].clone()).expect("a nonce, or null")
}

fn stored(page: &Page) -> Option<String> {
    page.effects.iter().find_map(|effect| match effect {
        Effect::StoreNonces(text) => Some(text.clone()),
        _ => None,
    })
}

fn greet(page: &mut Page) {
    page.step(Event::Watch(sale()));
    page.step(Event::ConnectRequested);
    page.token("t1");
    page.step(Event::SocketOpened);
    page.welcome(vec![fixture::state(tick(2, 1))]);
}

#[test]
fn a_join_brings_a_nonce_that_is_stored_before_it_is_sent_and_stays_the_same() {
    let mut page = Page::ready();
    let id = page.command(join());
    let nonce = nonce_sent(&page).expect("a nonce");
    assert!(stored(&page).expect("stored").contains(&nonce.to_string()));
    let place = |found: fn(&Effect) -> bool| page.effects.iter().position(found);
    let store = place(|effect| matches!(effect, Effect::StoreNonces(_)));
    assert!(store < place(|effect| matches!(effect, Effect::Send(_))));
    assert!(
        !id.to_string().contains(&nonce.to_string()[..8]) && nonce.0 != [0; 16],
        "the id, which is no secret, tells nothing of it"
    );
    page.reconnect(1006);
    page.welcome(vec![fixture::state(tick(3, page.at_ms))]);
    assert_eq!((page.sent_id("join"), nonce_sent(&page)), (id, Some(nonce)));
    page.reply(id, Outcome::Ok(Done::Left { sale: sale() }));
    assert_ne!(page.command(join()), id);
    assert_eq!(nonce_sent(&page), Some(nonce), "a later join");
    assert_eq!(stored(&page), None, "nothing new");
}

#[test]
fn a_reload_keeps_the_nonce_and_another_shopper_gets_another_one() {
    let mut page = Page::ready();
    page.command(join());
    let (nonce, text) = (nonce_sent(&page), stored(&page).expect("stored"));
    let mut reloaded = Page::new();
    reloaded.random = 99;
    reloaded.step(Event::NoncesLoaded(read_text(&text)));
    greet(&mut reloaded);
    reloaded.command(join());
    assert_eq!(nonce_sent(&reloaded), nonce);
    let mut other = Page::new();
    other.random = 99;
    other.step(Event::NoncesLoaded(read_text(&text.replace("\"jo\"", "\"al\""))));
    greet(&mut other);
    other.command(join());
    assert_ne!(nonce_sent(&other), nonce);
    for nonsense in ["", "{}", "[7]", "[[]]"] {
        let mut page = Page::new();
        page.step(Event::NoncesLoaded(read_text(nonsense)));
        greet(&mut page);
        page.command(join());
        assert!(nonce_sent(&page).is_some(), "{nonsense}");
    }
}

#[test]
fn a_double_click_is_one_join_also_before_the_shopper_is_known() {
    let mut page = Page::new();
    let id = page.command(join());
    assert_eq!(page.command(join()), id);
    greet(&mut page);
    let nonce = nonce_sent(&page);
    assert!(nonce.is_some());
    assert_eq!(page.command(join()), id);
    page.reply(id, Outcome::Ok(Done::Left { sale: sale() }));
    page.command(join());
    assert_eq!(nonce_sent(&page), nonce);
}

#[test]
fn a_sale_of_the_first_format_is_joined_without_a_nonce() {
    let mut page = Page::new();
    page.step(Event::Watch(sale()));
    page.step(Event::ConnectRequested);
    page.token("t1");
    page.step(Event::SocketOpened);
    let mut state = fixture::state(tick(1, page.at_ms));
    state.sale.format = 1;
    page.welcome(vec![state]);
    page.command(join());
    assert_eq!(page.sent()[0]["type"], "join");
    assert!(
        page.sent()[0].get("nonce").is_none(),
        "an earlier server refuses it"
    );
}

#[test]
fn nonces_kept_are_bounded_and_the_oldest_go_first() {
    let mut page = Page::ready();
    let mut first = None;
    for n in 0..=MAX_NONCES {
        let sale = SaleId::from_parts(1, n as u128);
        let id = page.command(ShopCommand::Join {
            sale,
            quantity: Quantity::ONE,
            nonce: None,
        });
        first = first.or(nonce_sent(&page));
        page.reply(id, Outcome::Error(Code::SaleUnknown.into()));
    }
    assert_eq!(page.state.nonces.len(), MAX_NONCES);
    let kept = serde_json::to_string(&page.state.nonces).expect("JSON");
    assert!(!kept.contains(&first.expect("a nonce").to_string()));
}
