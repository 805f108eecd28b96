//! A stand-in shop with a checkout and books of its own (`--shop`). It takes shoppers over by their tokens, confirms, and captures on
//! 200 only. It loses answers and asks again, asks several times at once, is slow, goes down in the middle, and gives money back when
//! it is asked to. In the end its books are compared with ours: I6.

use super::history::History;
use crate::shopper::command_id;
use anyhow::{Context, Result};
use chrono::{TimeDelta, Utc};
use futures_util::future::join_all;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::task::{JoinHandle, JoinSet};

/// Longest time until a request has an answer that means something, over all tries.
const ANSWER_DEADLINE: Duration = Duration::from_secs(45);
const TRY_TIMEOUT: Duration = Duration::from_secs(3);
const FINISH_DEADLINE: Duration = Duration::from_secs(90);
const LOOK_FOR_REFUNDS: Duration = Duration::from_millis(200);
/// The most that its orders wait: longer than their own time to pay.
const CHECKOUT_MAX_S: u64 = 8;
/// How often an answer is lost on the shop's side, although it came.
const LOSES_ANSWERS: f64 = 0.1;

pub struct Shop {
    http: reqwest::Client,
    doors: Vec<SocketAddr>,
    key: String,
    history: Arc<History>,
    books: Mutex<Books>,
    visits: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct Books {
    /// By payment: its order and amount.
    captured: HashMap<String, (String, i64)>,
    /// By refund: its payment and amount.
    given_back: HashMap<String, (String, i64)>,
    visits: u64,
    refused: u64,
    failed_captures: u64,
}

impl Shop {
    /// Sets the checkout of the caller's own merchant, and makes a key for its backend.
    pub async fn open(
        http: &reqwest::Client,
        gateway: &str,
        token: &str,
        merchant: &str,
        doors: Vec<SocketAddr>,
        history: Arc<History>,
    ) -> Result<Arc<Self>> {
        let path = format!("{gateway}/admin/merchants/{merchant}");
        let checkout =
            json!({ "checkout_url": "https://shop.example/checkout", "checkout_max_s": CHECKOUT_MAX_S });
        let set = http
            .patch(&path)
            .bearer_auth(token)
            .json(&checkout)
            .send()
            .await?;
        set.error_for_status().context("the checkout cannot be set")?;
        let wish = json!({ "name": "checkout", "scopes": ["orders:read", "orders:write"] });
        let made = http
            .post(format!("{path}/api-keys"))
            .bearer_auth(token)
            .json(&wish);
        let made: Value = made.send().await?.error_for_status()?.json().await?;
        Ok(Arc::new(Self {
            http: reqwest::Client::builder().timeout(TRY_TIMEOUT).build()?,
            doors,
            key: made["secret"].as_str().context("no key")?.to_owned(),
            history,
            books: Mutex::default(),
            visits: Mutex::default(),
        }))
    }

    fn books<T>(&self, of: impl FnOnce(&mut Books) -> T) -> T {
        of(&mut self.books.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A shopper comes with this token. `smoothly`: nothing goes wrong on the shop's side but lost answers.
    pub fn visit(self: &Arc<Self>, token: String, seed: u64, smoothly: bool) {
        let shop = self.clone();
        self.books(|books| books.visits += 1);
        let mut visits = self.visits.lock().unwrap_or_else(PoisonError::into_inner);
        while visits.try_join_next().is_some() {}
        visits.spawn(async move { shop.serve(token, StdRng::seed_from_u64(seed), smoothly).await });
    }

    async fn serve(&self, token: String, mut rng: StdRng, smoothly: bool) {
        let key = command_id().to_string();
        let body = json!({ "token": token });
        let redeemed = self
            .ask(
                &mut rng,
                Method::POST,
                "/admin/handoffs/redeem",
                Some(&key),
                &body,
            )
            .await;
        let Some((200, payment)) = redeemed else { return };
        let text = |name: &str| payment[name].as_str().unwrap_or_default().to_owned();
        let (id, order) = (text("payment_id"), text("order_id"));
        let amount = payment["amount"].as_i64().unwrap_or_default();
        let path = |step: &str| format!("/admin/handoffs/{id}/{step}");
        match rng.random_range(0..100) {
            _ if smoothly => {}
            // Goes down: nobody hears of this checkout again.
            0..4 => return,
            4..10 => {
                let body = json!({ "reason": "the card was declined" });
                self.ask(&mut rng, Method::POST, &path("fail"), None, &body).await;
                return;
            }
            // Around the end of the time to pay.
            10..18 => pause(&mut rng, 2_500, 5_500).await,
            18..26 => {
                let until = Utc::now() + TimeDelta::milliseconds(rng.random_range(2_000..7_000));
                let body = json!({ "expires_at": until.to_rfc3339() });
                self.ask(&mut rng, Method::POST, &path("extend"), None, &body)
                    .await;
                pause(&mut rng, 1_000, 5_000).await;
            }
            _ => pause(&mut rng, 0, 300).await,
        }
        let body = json!({ "amount": amount, "currency": "EUR", "reference": id });
        let times = if rng.random_bool(0.15) { 4 } else { 1 };
        let mut dice: Vec<StdRng> = (0..times).map(|_| StdRng::seed_from_u64(rng.random())).collect();
        let confirm = path("confirm");
        let asked = dice
            .iter_mut()
            .map(|rng| self.ask(rng, Method::POST, &confirm, None, &body));
        let answers: Vec<u16> = join_all(asked)
            .await
            .into_iter()
            .flatten()
            .map(|(status, _)| status)
            .collect();
        let Some(first) = answers.first().copied() else {
            return;
        };
        if answers.iter().any(|status| *status != first) {
            self.history.violation(
                "shop",
                format!("I4: confirmations of {id} were answered {answers:?}"),
            );
        }
        if first != 200 {
            self.books(|books| books.refused += 1);
            self.stays_refused(&mut rng, &id, &body).await;
            return;
        }
        if !smoothly && rng.random_bool(0.05) {
            let body_of_fail = json!({ "reason": "the capture was refused" });
            let failed = self
                .ask(&mut rng, Method::POST, &path("fail"), None, &body_of_fail)
                .await;
            if failed.is_some_and(|(status, _)| status != 200) {
                self.history
                    .violation("shop", format!("the failed capture of {id} was not accepted"));
            }
            self.books(|books| books.failed_captures += 1);
            self.stays_refused(&mut rng, &id, &body).await;
            return;
        }
        self.books(|books| books.captured.insert(id.clone(), (order.clone(), amount)));
        if !smoothly && rng.random_bool(0.08) {
            pause(&mut rng, 0, 1_000).await;
            let part = rng.random_bool(0.5).then_some(amount / 2);
            let body = part.map_or(json!({}), |amount| json!({ "amount": amount }));
            let key = command_id().to_string();
            let path = format!("/admin/orders/{order}/refund");
            self.ask(&mut rng, Method::POST, &path, Some(&key), &body).await;
        }
    }

    /// What was refused must not be confirmed later: an old request would capture then.
    async fn stays_refused(&self, rng: &mut StdRng, id: &str, body: &Value) {
        if rng.random_bool(0.5) {
            let path = format!("/admin/handoffs/{id}/confirm");
            let again = self.ask(rng, Method::POST, &path, None, body).await;
            if let Some((200, answer)) = again {
                self.history.violation(
                    "shop",
                    format!("I6: {id} was refused, and then confirmed: {answer}"),
                );
            }
        }
    }

    /// Gives back what it is asked for, each refund once, until it is stopped.
    pub fn give_back(self: &Arc<Self>, seed: u64) -> JoinHandle<()> {
        let (shop, mut rng) = (self.clone(), StdRng::seed_from_u64(seed));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_FOR_REFUNDS).await;
                let nothing = json!({});
                let list = shop.ask(&mut rng, Method::GET, "/admin/refunds", None, &nothing);
                let Some((200, list)) = list.await else { continue };
                for refund in list["refunds"].as_array().into_iter().flatten() {
                    shop.give_one_back(&mut rng, refund).await;
                }
            }
        })
    }

    async fn give_one_back(&self, rng: &mut StdRng, refund: &Value) {
        let text = |name: &str| refund[name].as_str().unwrap_or_default().to_owned();
        let (id, payment) = (text("refund_id"), text("payment_id"));
        let amount = refund["amount"].as_i64().unwrap_or_default();
        let is_known = self.books(|books| {
            let known = books.captured.contains_key(&payment);
            books
                .given_back
                .entry(id.clone())
                .or_insert((payment.clone(), amount));
            known
        });
        if !is_known {
            self.history
                .violation("shop", format!("I6: {id} asks for money that was never captured"));
        }
        // The money is back, but the shop goes down before it says so.
        if rng.random_bool(0.3) {
            return;
        }
        let path = format!("/admin/refunds/{id}/done");
        for _ in 0..rng.random_range(1..3) {
            self.ask(rng, Method::POST, &path, None, &json!({})).await;
        }
    }

    /// Repeats a request until an answer means something.
    async fn ask(
        &self,
        rng: &mut StdRng,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: &Value,
    ) -> Option<(u16, Value)> {
        let since = Instant::now();
        while since.elapsed() < ANSWER_DEADLINE {
            let door = self.doors[rng.random_range(0..self.doors.len())];
            let mut request = self
                .http
                .request(method.clone(), format!("http://{door}{path}"))
                .bearer_auth(&self.key)
                .json(body);
            if let Some(key) = key {
                request = request.header("idempotency-key", key);
            }
            if let Ok(response) = request.send().await {
                let status = response.status().as_u16();
                let answer = response.json().await;
                let is_lost = rng.random_bool(LOSES_ANSWERS);
                if let (Ok(answer), false, false) = (answer, is_lost, status == 429 || status >= 500) {
                    return Some((status, answer));
                }
            }
            pause(rng, 20, 300).await;
        }
        self.history.violation(
            "shop",
            format!("{method} {path} has no answer after {ANSWER_DEADLINE:?}"),
        );
        None
    }

    /// Waits until all who came are served.
    pub async fn finish(&self) {
        let mut visits = std::mem::take(&mut *self.visits.lock().unwrap_or_else(PoisonError::into_inner));
        let all = async { while visits.join_next().await.is_some() {} };
        if tokio::time::timeout(FINISH_DEADLINE, all).await.is_err() {
            self.history
                .violation("shop", format!("{} checkouts hang", visits.len()));
        }
    }

    /// Compares its books with what the orders' rows say is paid.
    pub fn check(&self, paid: &HashMap<String, i64>) {
        let (summary, wrong) = self.books(|books| (books.summary(), books.wrong(paid)));
        println!("{summary}");
        for what in wrong {
            self.history.violation("shop", format!("I6: {what}"));
        }
    }
}

impl Books {
    fn summary(&self) -> String {
        format!(
            "the shop: {} visits, {} captured, {} refused, {} captures failed, {} refunds",
            self.visits,
            self.captured.len(),
            self.refused,
            self.failed_captures,
            self.given_back.len()
        )
    }

    /// What was captured and not given back is that of one confirmed order, and each of these has its money here. `paid`: what is
    /// paid for each confirmed order.
    fn wrong(&self, paid: &HashMap<String, i64>) -> Vec<String> {
        let mut kept: HashMap<&String, i64> = HashMap::new();
        let mut wrong = Vec::new();
        for (payment, (order, amount)) in &self.captured {
            let of_payment = self.given_back.values().filter(|(of, _)| of == payment);
            let back: i64 = of_payment.map(|(_, amount)| amount).sum();
            if amount - back != 0 && kept.get(order).is_some_and(|kept| *kept != 0) {
                wrong.push(format!("the order {order} was captured twice"));
            }
            *kept.entry(order).or_default() += amount - back;
        }
        for (order, amount) in kept.iter().filter(|(_, amount)| **amount != 0) {
            let due = paid.get(*order);
            if due != Some(amount) {
                wrong.push(format!(
                    "it keeps {amount} for the order {order}, which has {due:?}"
                ));
            }
        }
        for (order, amount) in paid.iter().filter(|(_, amount)| **amount != 0) {
            let has = kept.get(order);
            if has != Some(amount) {
                wrong.push(format!("the order {order} has {amount}, it keeps {has:?}"));
            }
        }
        wrong
    }
}

async fn pause(rng: &mut StdRng, from_ms: u64, to_ms: u64) {
    tokio::time::sleep(Duration::from_millis(rng.random_range(from_ms..to_ms))).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found wrong with these captures and refunds, each with its payment, order or amount, beside the orders' money.
    fn broken(captured: &[(&str, &str, i64)], back: &[(&str, i64)], paid: &[(&str, i64)]) -> usize {
        let books = Books {
            captured: captured
                .iter()
                .map(|(payment, order, amount)| ((*payment).into(), ((*order).into(), *amount)))
                .collect(),
            given_back: back
                .iter()
                .enumerate()
                .map(|(n, (payment, amount))| (format!("r{n}"), ((*payment).into(), *amount)))
                .collect(),
            ..Books::default()
        };
        let paid = paid.iter().map(|(order, amount)| ((*order).into(), *amount));
        books.wrong(&paid.collect()).len()
    }

    #[test]
    fn money_without_an_order_and_an_order_without_money_are_found() {
        assert_eq!(broken(&[("p1", "o1", 100)], &[], &[("o1", 100)]), 0);
        assert_eq!(broken(&[("p1", "o1", 100)], &[("p1", 40)], &[("o1", 60)]), 0);
        assert_eq!(broken(&[("p1", "o1", 100)], &[("p1", 100)], &[]), 0);
        assert_eq!(
            broken(&[("p1", "o1", 100)], &[], &[]),
            1,
            "money without an order"
        );
        assert!(broken(&[], &[], &[("o1", 100)]) > 0, "an order without money");
        let twice = [("p1", "o1", 100), ("p2", "o1", 100)];
        assert!(broken(&twice, &[], &[("o1", 100)]) > 0, "captured twice");
        let back_twice = [("p1", 100), ("p1", 100)];
        assert!(
            broken(&[("p1", "o1", 100)], &back_twice, &[]) > 0,
            "given back twice"
        );
    }
}
