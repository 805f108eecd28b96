//! Operators sign in with the code of an authenticator app as well: each code once, and only while they want it.

use crate::{
    harness::{Answer, World},
    operator_accounts::{Browser, PASSWORD, link, world},
};
use flashsale_engine::{clock, operator::OperatorRole};
use flashsale_protocol::Code;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use totp_rs::Totp;

const ANN: &str = "ann@shop.example";
const STEP_MS: i64 = 30_000;

/// An authenticator app that has scanned the picture.
struct App {
    totp: Totp,
    seed: String,
}

impl App {
    async fn set_up(browser: &Browser<'_>) -> Self {
        let answer = browser.ask(Method::POST, "/admin/codes", Value::Null).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.headers["cache-control"], "no-store");
        let text = |name: &str| answer.body[name].as_str().expect("text").to_owned();
        let totp = Totp::from_url(text("uri")).expect("an address as apps read it");
        assert_eq!(totp.secret().to_base32(), text("secret"));
        Self {
            totp,
            seed: text("seed"),
        }
    }

    /// What it shows so many half minutes from now. The server takes the one before and the one after as well.
    fn code(&self, steps: i64) -> String {
        let at_s = (clock::now_ms() as i64 + steps * STEP_MS) / 1_000;
        self.totp.generate(at_s as u64).to_string()
    }

    async fn begin(&self, browser: &Browser<'_>, password: &str, code: &str) -> Answer {
        let body = json!({ "seed": self.seed, "password": password, "code": code });
        browser.ask(Method::POST, "/admin/codes/begin", body).await
    }
}

async fn sign_in(browser: &Browser<'_>, code: &str) -> Answer {
    let body = json!({ "email": ANN, "password": PASSWORD, "code": code });
    browser.ask(Method::POST, "/admin/session", body).await
}

async fn end(browser: &Browser<'_>, code: &str) -> Answer {
    let body = json!({ "password": PASSWORD, "code": code });
    browser.ask(Method::POST, "/admin/codes/end", body).await
}

async fn ann(world: &World) -> Browser<'_> {
    Browser::of(world, ANN, None, OperatorRole::Admin).await
}

#[tokio::test]
async fn a_code_is_asked_for_once_the_app_has_shown_one_and_each_is_good_once() {
    let world = world().await;
    let browser = ann(&world).await;
    let mut elsewhere = Browser::new(&world);
    elsewhere.keep(&elsewhere.sign_in(ANN, PASSWORD).await);
    let app = App::set_up(&browser).await;
    // Nothing has changed yet.
    assert_eq!(browser.sign_in(ANN, PASSWORD).await.status, 200);
    assert_eq!(
        app.begin(&browser, "wrong horse battery", &app.code(-1))
            .await
            .refusal(),
        Code::PasswordRefused
    );
    assert_eq!(
        app.begin(&browser, PASSWORD, "000000x").await.refusal(),
        Code::CodeRefused
    );
    let code = app.code(-1);
    let at_once = join_all((0..4).map(|_| app.begin(&browser, PASSWORD, &code))).await;
    let begun = at_once.iter().filter(|answer| answer.status == 204).count();
    assert_eq!(begun, 1, "{at_once:?}");
    assert_eq!(elsewhere.sales().await.refusal(), Code::TokenInvalid);
    assert_eq!(browser.sales().await.status, 200, "this session goes on");
    assert_eq!(browser.who().await.body["has_codes"], true);

    assert_eq!(browser.sign_in(ANN, PASSWORD).await.refusal(), Code::CodeNeeded);
    assert_eq!(
        browser.sign_in(ANN, "wrong horse battery").await.refusal(),
        Code::SignInRefused,
        "who does not know the password hears nothing of codes"
    );
    assert_eq!(
        sign_in(&browser, &code).await.refusal(),
        Code::CodeRefused,
        "used"
    );
    let code = app.code(0);
    let at_once = join_all((0..4).map(|_| sign_in(&browser, &code))).await;
    let signed_in: Vec<&Answer> = at_once.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(signed_in.len(), 1, "{at_once:?}");
    assert!(!signed_in[0].headers["set-cookie"].is_empty());
    world.server.stop().await;
}

#[tokio::test]
async fn no_code_is_asked_for_once_the_operator_says_so() {
    let world = world().await;
    let browser = ann(&world).await;
    let app = App::set_up(&browser).await;
    let code = app.code(-1);
    assert_eq!(end(&browser, &code).await.refusal(), Code::CodesNotThere);
    assert_eq!(app.begin(&browser, PASSWORD, &code).await.status, 204);
    assert_eq!(
        App::set_up(&browser)
            .await
            .begin(&browser, PASSWORD, &app.code(0))
            .await
            .refusal(),
        Code::CodesThere
    );
    assert_eq!(end(&browser, &code).await.refusal(), Code::CodeRefused, "used");
    assert_eq!(end(&browser, &app.code(0)).await.status, 204);
    assert_eq!(browser.sign_in(ANN, PASSWORD).await.status, 200);
    world.server.stop().await;
}

#[tokio::test]
async fn codes_cannot_be_guessed_and_a_new_link_is_the_way_back() {
    let world = world().await;
    let mut browser = ann(&world).await;
    let app = App::set_up(&browser).await;
    assert_eq!(app.begin(&browser, PASSWORD, &app.code(-1)).await.status, 204);
    let mut heard = Vec::new();
    for guess in 0..8 {
        heard.push(sign_in(&browser, &format!("{guess:06}")).await.refusal());
    }
    // One guess may be right by chance; a used one is refused as well.
    assert_eq!(heard[..5], [Code::CodeRefused; 5], "{heard:?}");
    assert_eq!(heard[5..], [Code::TooManySignIns; 3], "{heard:?}");
    assert_eq!(
        sign_in(&browser, &app.code(0)).await.refusal(),
        Code::TooManySignIns,
        "the right one waits too"
    );
    let secret = link(&world, ANN, None, OperatorRole::Admin).await;
    browser.keep(&browser.set_password(&secret).await);
    assert_eq!(browser.who().await.body["has_codes"], false);
    assert_eq!(browser.sign_in(ANN, PASSWORD).await.status, 200);
    world.server.stop().await;
}
