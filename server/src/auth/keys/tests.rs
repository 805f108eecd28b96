use super::{
    Fetcher, FileKeys, KeyError, KeySet, MAX_DOCUMENT_BYTES, MAX_KEYS, PublicKey, Reach, RemoteKeys,
    address::is_public,
    fetch, file,
    remote::{FAILED_FOR, KEEP, RENEW_AT_MOST_EVERY, STALE_AT_MOST},
    samples::*,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, Validation};
use serde_json::{Value, json};
use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
    time::{advance, pause},
};
use tracing::{Event, Level, Metadata, Subscriber, span};

// ------------------------------------------------------------------------------------------------------------- reading

fn jwks(keys: &[&str]) -> String {
    format!("{{\"keys\":[{}]}}", keys.join(","))
}

/// A sample with members changed; null takes one away.
fn changed(jwk: &str, changes: &[(&str, Value)]) -> String {
    let mut jwk: Value = serde_json::from_str(jwk).expect("a sample is JSON");
    for (member, value) in changes {
        let members = jwk.as_object_mut().expect("a sample is an object");
        if value.is_null() {
            members.remove(*member);
        } else {
            members.insert((*member).to_owned(), value.clone());
        }
    }
    jwk.to_string()
}

fn set(keys: &[&str]) -> KeySet {
    KeySet::from_jwks(jwks(keys).as_bytes()).expect("a usable set")
}

/// The text for the one key of a set that was skipped; a good key beside it keeps the set usable.
fn why_skipped(jwk: &str) -> String {
    let read = set(&[ED25519_JWK, jwk]);
    assert_eq!(read.keys().len(), 1, "{jwk} is used");
    let [why] = read.skipped() else {
        panic!("one key is skipped: {:?}", read.skipped());
    };
    why.clone()
}

fn signed(algorithm: Algorithm, private: &str) -> String {
    use Algorithm::*;
    let pem = private.as_bytes();
    let key = match algorithm {
        ES256 | ES384 => EncodingKey::from_ec_pem(pem),
        EdDSA => EncodingKey::from_ed_pem(pem),
        _ => EncodingKey::from_rsa_pem(pem),
    };
    let claims = json!({"sub": "someone", "exp": 4_102_444_800_u64});
    jsonwebtoken::encode(&Header::new(algorithm), &claims, &key.expect("a sample")).expect("signs")
}

fn accepts(key: &PublicKey, algorithm: Algorithm, token: &str) -> bool {
    jsonwebtoken::decode::<Value>(token, &key.key, &Validation::new(algorithm)).is_ok()
}

const RSA_FAMILY: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

fn every_algorithm() -> Vec<(Algorithm, &'static str)> {
    let rsa = RSA_FAMILY.iter().map(|algorithm| (*algorithm, RSA_PRIVATE));
    rsa.chain([
        (Algorithm::ES256, P256_PRIVATE),
        (Algorithm::ES384, P384_PRIVATE),
        (Algorithm::EdDSA, ED25519_PRIVATE),
    ])
    .collect()
}

#[test]
fn a_token_of_every_algorithm_is_verified_with_keys_in_both_forms() {
    let of_json = set(&[RSA_JWK, P256_JWK, P384_JWK, ED25519_JWK]);
    let pem = [RSA_PUBLIC, "a comment", P256_PUBLIC, P384_PUBLIC, ED25519_PUBLIC].join("\n");
    let of_pem = KeySet::from_pem(&pem).expect("reads");
    for read in [of_json, of_pem] {
        assert_eq!(read.keys().len(), 4);
        for (algorithm, private) in every_algorithm() {
            let token = signed(algorithm, private);
            let fit: Vec<&PublicKey> = read.candidates(algorithm, None).collect();
            assert_eq!(fit.len(), 1, "{algorithm:?}");
            assert!(accepts(fit[0], algorithm, &token), "{algorithm:?}");
        }
    }
}

#[test]
fn an_rsa_key_is_read_in_each_of_its_pem_forms() {
    let token = signed(Algorithm::PS256, RSA_PRIVATE);
    for pem in [RSA_PUBLIC, RSA_PUBLIC_PKCS1, RSA_CERTIFICATE, RSA_PSS_PUBLIC] {
        let read = KeySet::from_pem(pem).expect("reads");
        assert!(accepts(&read.keys()[0], Algorithm::PS256, &token), "{pem}");
    }
    let pss = KeySet::from_pem(RSA_PSS_PUBLIC).expect("reads");
    assert_eq!(pss.candidates(Algorithm::RS256, None).count(), 0);
    let certificate = KeySet::from_pem(P256_CERTIFICATE).expect("reads");
    let token = signed(Algorithm::ES256, P256_PRIVATE);
    assert!(accepts(&certificate.keys()[0], Algorithm::ES256, &token));
}

#[test]
fn a_pem_text_in_one_line_is_read() {
    let escaped = RSA_PUBLIC.replace('\n', "\\n");
    let spaced = RSA_PUBLIC.replace('\n', " ");
    let windows = RSA_PUBLIC.replace('\n', "\r\n");
    for text in [escaped, spaced, windows] {
        assert_eq!(KeySet::from_pem(&text).expect("reads").keys().len(), 1, "{text}");
    }
}

#[test]
fn a_private_key_is_refused_by_name_in_both_forms() {
    for private in [RSA_PRIVATE, P256_PRIVATE, ED25519_PRIVATE] {
        let error = KeySet::from_pem(&format!("{RSA_PUBLIC}\n{private}")).expect_err("refused");
        assert_eq!(error, KeyError::PrivateKey(2));
        assert!(error.to_string().contains("block 2 is a private key"), "{error}");
    }
    let older = "-----BEGIN EC PRIVATE KEY-----\nbroken";
    assert_eq!(
        KeySet::from_pem(older).expect_err("refused").word(),
        "private_key"
    );
    let why = why_skipped(&changed(RSA_JWK, &[("d", json!("AQAB"))]));
    assert!(why.starts_with("key \"rsa-1\" contains its private key"), "{why}");
}

#[test]
fn an_unusable_pem_block_is_named_by_its_number_and_reason() {
    let cut = &P256_PUBLIC[..P256_PUBLIC.len() - 30];
    let torn = ED25519_PUBLIC.replace("MCow", "MC!w");
    let other = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----";
    let cases = [
        (P521_PUBLIC, "the curve P-521"),
        (X25519_PUBLIC, "the type X25519"),
        (RSA_1024_PUBLIC, "1024 bits; at least 2048"),
        (cut, "has no end"),
        (&torn, "is not base64"),
        (other, "is neither a PUBLIC KEY"),
    ];
    for (block, reason) in cases {
        let error = KeySet::from_pem(&format!("{RSA_PUBLIC}\n{block}")).expect_err("refused");
        assert_eq!(error.word(), "unusable_block", "{error}");
        let text = error.to_string();
        assert!(
            text.starts_with("PEM block 2 ") && text.contains(reason),
            "{text}"
        );
    }
    let mislabelled = ED25519_PUBLIC.replace("PUBLIC KEY", "RSA PUBLIC KEY");
    let error = KeySet::from_pem(&mislabelled).expect_err("refused");
    assert!(error.to_string().contains("cannot be read"), "{error}");
}

#[test]
fn a_key_without_alg_gets_the_algorithms_of_its_type() {
    let read = set(&[RSA_JWK, P384_JWK]);
    assert_eq!(read.keys()[0].algorithms, RSA_FAMILY);
    assert_eq!(read.keys()[1].algorithms, [Algorithm::ES384]);
    let named = set(&[&changed(RSA_JWK, &[("alg", json!("PS384"))])]);
    assert_eq!(named.keys()[0].algorithms, [Algorithm::PS384]);
    let curve_named = set(&[&changed(ED25519_JWK, &[("alg", json!("Ed25519"))])]);
    assert_eq!(curve_named.keys()[0].algorithms, [Algorithm::EdDSA]);
}

#[test]
fn a_key_that_cannot_be_used_is_skipped_and_named() {
    let secret = json!({"kty": "oct", "kid": "s", "alg": "HS256", "k": "c2VjcmV0"}).to_string();
    let cases = [
        (X25519_JWK.to_owned(), "key \"x25519-1\" has the curve \"X25519\""),
        (SECP256K1_JWK.to_owned(), "key \"k1\" has the curve \"secp256k1\""),
        (P521_JWK.to_owned(), "key \"p521-1\" has the curve \"P-521\""),
        (
            RSA_1024_JWK.to_owned(),
            "key \"small\" is an RSA key of 1024 bits",
        ),
        (secret, "key \"s\" is a shared secret"),
        (
            changed(RSA_JWK, &[("use", json!("enc"))]),
            "not for signatures (use \"enc\")",
        ),
        (
            changed(RSA_JWK, &[("key_ops", json!(["encrypt"]))]),
            "not for checking signatures",
        ),
        (
            changed(RSA_JWK, &[("alg", json!("RSA-OAEP"))]),
            "the algorithm \"RSA-OAEP\"",
        ),
        (
            changed(RSA_JWK, &[("alg", json!("HS256"))]),
            "the algorithm \"HS256\"",
        ),
        (
            changed(P256_JWK, &[("alg", json!("ES384"))]),
            "the algorithm \"ES384\"",
        ),
        (changed(RSA_JWK, &[("e", json!("AQ"))]), "out of range"),
        (changed(RSA_JWK, &[("e", Value::Null)]), "has no \"e\""),
        (changed(RSA_JWK, &[("n", json!("***"))]), "not base64url"),
        (
            changed(RSA_JWK, &[("kid", json!(7))]),
            "key number 2 has a \"kid\" that is not a text",
        ),
        (
            changed(RSA_JWK, &[("kty", json!("AKP")), ("kid", Value::Null)]),
            "key number 2 has the type \"AKP\"",
        ),
        (changed(RSA_JWK, &[("kty", Value::Null)]), "has no type"),
        (
            changed(P256_JWK, &[("y", json!("AAAA"))]),
            "not a point on its curve",
        ),
        (
            changed(ED25519_JWK, &[("x", json!("AAAA")), ("kid", json!("short"))]),
            "key \"short\" is not an Ed25519 key",
        ),
        ("7".to_owned(), "key number 2 is not an object"),
    ];
    for (jwk, reason) in cases {
        let why = why_skipped(&jwk);
        assert!(why.contains(reason), "{jwk}: {why}");
    }
}

#[test]
fn a_foreign_name_is_shown_escaped_and_cut() {
    let kid = format!("a\n\u{1b}[31m{}", "x".repeat(500));
    let why = why_skipped(&changed(X25519_JWK, &[("kid", json!(kid))]));
    assert!(!why.contains(['\n', '\u{1b}']) && why.len() < 200, "{why}");
}

#[test]
fn a_set_without_a_usable_key_says_what_was_skipped() {
    let error = KeySet::from_jwks(jwks(&[X25519_JWK, SECP256K1_JWK]).as_bytes()).expect_err("refused");
    assert_eq!(error.word(), "no_usable_key");
    let text = error.to_string();
    assert!(text.contains("x25519-1") && text.contains("k1"), "{text}");
    let many = vec![X25519_JWK; MAX_KEYS];
    let error = KeySet::from_jwks(jwks(&many).as_bytes()).expect_err("refused");
    assert!(error.to_string().ends_with("and 95 more."), "{error}");
    for empty in [KeySet::from_jwks(b"{\"keys\":[]}"), KeySet::from_pem("")] {
        assert_eq!(empty.expect_err("refused").word(), "no_usable_key");
    }
}

#[test]
fn a_document_has_bounds_and_needs_a_list_of_keys() {
    let word = |document: &str| {
        KeySet::from_jwks(document.as_bytes())
            .expect_err("refused")
            .word()
    };
    assert_eq!(word(&jwks(&vec![ED25519_JWK; MAX_KEYS + 1])), "too_many_keys");
    assert_eq!(word(&" ".repeat(MAX_DOCUMENT_BYTES + 1)), "too_large");
    for document in ["{}", "[]", "7", "{\"keys\":{}}", RSA_JWK] {
        assert_eq!(word(document), "no_keys", "{document}");
    }
    assert_eq!(word(&"[".repeat(10_000)), "not_json");
    let pem = [ED25519_PUBLIC; MAX_KEYS + 1].join("\n");
    assert_eq!(
        KeySet::from_pem(&pem).expect_err("refused").word(),
        "too_many_keys"
    );
}

#[test]
fn read_takes_either_form_and_names_both_when_it_is_neither() {
    let json = format!("\u{feff}{}", jwks(&[RSA_JWK]));
    assert_eq!(KeySet::read(json.as_bytes()).expect("JWKS").keys().len(), 1);
    assert_eq!(KeySet::read(RSA_PUBLIC.as_bytes()).expect("PEM").keys().len(), 1);
    for neither in ["hello".as_bytes(), b"", b"\xff\xfe"] {
        let text = KeySet::read(neither).expect_err("refused").to_string();
        assert!(text.contains("JWKS") && text.contains("PEM"), "{text}");
    }
}

#[test]
fn an_ec_coordinate_without_its_leading_zeros_and_padded_numbers_are_taken() {
    let padded = changed(
        ED25519_JWK,
        &[("x", json!(format!("{}=", member(ED25519_JWK, "x"))))],
    );
    assert_eq!(set(&[&padded, P256_SHORT_JWK]).keys().len(), 2);
    let long = why_skipped(&changed(P256_JWK, &[("x", json!("A".repeat(64)))]));
    assert!(long.contains("too long"), "{long}");
}

fn member(jwk: &str, member: &str) -> String {
    let jwk: Value = serde_json::from_str(jwk).expect("JSON");
    jwk[member].as_str().expect("a text").to_owned()
}

#[test]
fn candidates_fit_algorithm_and_key_id() {
    let twin = changed(RSA_JWK, &[("alg", json!("RS256"))]);
    let nameless = changed(RSA_JWK, &[("kid", Value::Null)]);
    let read = set(&[RSA_JWK, &twin, P256_JWK]);
    let count = |read: &KeySet, algorithm, kid| read.candidates(algorithm, kid).count();
    assert_eq!(count(&read, Algorithm::RS256, Some("rsa-1")), 2, "both of one id");
    assert_eq!(count(&read, Algorithm::PS256, Some("rsa-1")), 1);
    assert_eq!(count(&read, Algorithm::RS256, None), 2, "a token without an id");
    assert_eq!(
        count(&read, Algorithm::RS256, Some("p256-1")),
        0,
        "the id of another type"
    );
    assert_eq!(count(&read, Algorithm::RS256, Some("new")), 0, "an unknown id");
    assert_eq!(count(&read, Algorithm::HS256, None), 0, "never symmetric");
    let read = set(&[&nameless]);
    assert_eq!(
        count(&read, Algorithm::RS256, Some("any")),
        1,
        "a key without an id"
    );
    assert!(!read.has_id("any"));
}

// ------------------------------------------------------------------------------------------------------------ providers

/// Claims of real providers' tokens, with the settings that `docs/sign-in.md` gives for them.
const SHAPES: &str = include_str!("shapes.json");

#[test]
fn a_token_of_every_provider_s_shape_is_taken_with_the_documented_settings() {
    let shapes: Vec<Value> = serde_json::from_str(SHAPES).expect("JSON");
    for shape in &shapes {
        let name = format!("{} {}", shape["provider"], shape["token"]);
        let header: Header = serde_json::from_value(shape["header"].clone()).expect("a header");
        let (private, public) = match header.alg {
            Algorithm::RS256 => (EncodingKey::from_rsa_pem(RSA_PRIVATE.as_bytes()), RSA_JWK),
            Algorithm::ES256 => (EncodingKey::from_ec_pem(P256_PRIVATE.as_bytes()), P256_JWK),
            // A shared secret: no public key can be given for it.
            Algorithm::HS256 => continue,
            other => panic!("{name}: {other:?}"),
        };
        let kid = header.kid.clone().expect("a key id");
        let keys = set(&[&changed(public, &[("kid", json!(kid))]), ED25519_JWK]);
        let mut claims = shape["claims"].clone();
        claims["exp"] = json!(4_102_444_800_u64);
        let token = jsonwebtoken::encode(&header, &claims, &private.expect("a sample")).expect("signs");

        let setting = |name: &str| shape[name].as_str().expect("a text");
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[setting("issuer")]);
        validation.set_audience(&[setting("audience")]);
        if setting("audience_claim") == "aud" {
            validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        } else {
            assert_eq!(claims[setting("audience_claim")], setting("audience"), "{name}");
        }
        let taken: Vec<_> = keys
            .candidates(header.alg, Some(&kid))
            .map(|key| jsonwebtoken::decode::<Value>(&token, &key.key, &validation).expect(&name))
            .collect();
        assert_eq!(taken.len(), 1, "{name}");
        let subject = taken[0].claims[setting("subject_claim")].as_str();
        assert!(
            subject.is_some_and(|subject| (1..=255).contains(&subject.len())),
            "{name}"
        );
    }
    let page = include_str!("../../../../docs/sign-in.md");
    for shape in shapes {
        let provider = shape["provider"].as_str().expect("a text").split(' ').next();
        let heading = format!("### {}\n", provider.expect("a name"));
        assert!(page.contains(&heading), "no {heading}");
    }
}

// ----------------------------------------------------------------------------------------------------------- addresses

#[test]
fn only_addresses_of_the_public_internet_are_public() {
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    let private = [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.168.1.1",
        "198.19.0.1",
        "203.0.113.9",
        "224.0.0.1",
        "255.255.255.255",
        "168.63.129.16",
        "::",
        "::1",
        "::ffff:8.8.8.8",
        "::ffff:127.0.0.1",
        "::8.8.8.8",
        "fe80::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "fec0::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "100::1",
        "3fff::1",
    ];
    for text in private {
        assert!(!is_public(address(text)), "{text}");
    }
    let public = [
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.0.1",
        "172.32.0.1",
        "192.167.0.1",
        "198.17.0.1",
        "223.255.255.255",
        "2606:4700::1111",
        "2001:4860:4860::8888",
        "64:ff9b::808:808",
    ];
    for text in public {
        assert!(is_public(address(text)), "{text}");
    }
}

// ------------------------------------------------------------------------------------------------------------ fetching

/// Stops tokio's clock. It stands still even while everything waits for the network, and moves by [`advance`] only: a running
/// blocking task keeps it from leaping.
struct StillClock {
    _stop: mpsc::Sender<()>,
}

impl StillClock {
    fn new() -> Self {
        pause();
        let (stop, stopped) = mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || stopped.recv());
        Self { _stop: stop }
    }
}

/// What the provider does with a connection.
#[derive(Clone)]
enum Answer {
    Text(String),
    /// The text, and then the connection stays open without another byte.
    Hang(String),
    /// Waits to be told, then answers.
    When(Arc<Notify>, String),
}

/// A provider on loopback, which gives the answer of the moment.
struct Provider {
    url: String,
    answer: Arc<Mutex<Answer>>,
    fetches: Arc<AtomicUsize>,
    /// Told at each request.
    asked: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Provider {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let url = format!("http://{}/keys", listener.local_addr().expect("bound"));
        let answer = Arc::new(Mutex::new(answer));
        let fetches = Arc::new(AtomicUsize::new(0));
        let asked = Arc::new(Notify::new());
        let (now, count, told) = (answer.clone(), fetches.clone(), asked.clone());
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accepts");
                count.fetch_add(1, Ordering::SeqCst);
                let answer = now.lock().unwrap_or_else(PoisonError::into_inner).clone();
                tokio::spawn(Self::serve(stream, answer, told.clone()));
            }
        });
        Self {
            url,
            answer,
            fetches,
            asked,
            task,
        }
    }

    async fn serve(mut stream: TcpStream, answer: Answer, asked: Arc<Notify>) {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        asked.notify_one();
        match answer {
            Answer::Text(text) => drop(stream.write_all(text.as_bytes()).await),
            Answer::When(go, text) => {
                go.notified().await;
                drop(stream.write_all(text.as_bytes()).await);
            }
            Answer::Hang(text) => {
                let _ = stream.write_all(text.as_bytes()).await;
                std::future::pending::<()>().await;
            }
        }
    }

    fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

fn ok(body: &str) -> Answer {
    Answer::Text(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn status(line: &str) -> Answer {
    Answer::Text(format!(
        "HTTP/1.1 {line}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    ))
}

fn to(target: &str) -> Answer {
    status(&format!("302 Found\r\nlocation: {target}"))
}

fn fetcher() -> Fetcher {
    Fetcher::new(Reach::Loopback).expect("a client")
}

async fn fetched(answer: Answer) -> Result<KeySet, KeyError> {
    let provider = Provider::start(answer).await;
    fetcher().fetch(&provider.url).await
}

async fn refusal(answer: Answer) -> KeyError {
    fetched(answer).await.expect_err("refused")
}

#[tokio::test]
async fn a_good_rsa_key_beside_an_x25519_key_is_used_and_the_other_is_named() {
    let read = fetched(ok(&jwks(&[X25519_JWK, RSA_JWK]))).await.expect("usable");
    assert!(read.has_id("rsa-1"));
    assert!(read.skipped()[0].contains("x25519-1"), "{:?}", read.skipped());
}

#[tokio::test]
async fn bad_answers_are_refused_each_with_its_word() {
    let cases = [
        (ok("<html>"), "not_json"),
        (ok(""), "not_json"),
        (ok("{\"issuer\":\"x\"}"), "no_keys"),
        (ok(&jwks(&[X25519_JWK])), "no_usable_key"),
        (ok(RSA_PUBLIC), "not_json"),
        (status("404 Not Found"), "status"),
        (status("204 No Content"), "status"),
        (status("304 Not Modified"), "status"),
        (Answer::Text("SSH-2.0-OpenSSH_9\r\n".into()), "unreachable"),
        (Answer::Text(String::new()), "unreachable"),
    ];
    for (answer, word) in cases {
        let error = refusal(answer).await;
        assert_eq!(error.word(), word, "{error}");
    }
    let error = refusal(ok(&jwks(&[X25519_JWK]))).await;
    assert!(error.to_string().contains("x25519-1"), "{error}");
}

#[tokio::test]
async fn a_huge_document_is_refused_whatever_its_announced_length() {
    let body = " ".repeat(MAX_DOCUMENT_BYTES * 4);
    assert_eq!(refusal(ok(&body)).await, KeyError::TooLarge);
    let unannounced = Answer::Text(format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}"));
    assert_eq!(refusal(unannounced).await, KeyError::TooLarge);
    let endless = Answer::Hang(format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n40000\r\n{body}"
    ));
    assert_eq!(refusal(endless).await, KeyError::TooLarge);
}

#[tokio::test]
async fn a_provider_that_drips_is_given_up_at_the_limit() {
    let _clock = StillClock::new();
    let drip = Answer::Hang("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"keys\":[".into());
    for answer in [drip, Answer::Hang(String::new())] {
        let provider = Provider::start(answer).await;
        let url = provider.url.clone();
        let fetch = tokio::spawn(async move { fetcher().fetch(&url).await });
        provider.asked.notified().await;
        advance(fetch::TOTAL - Duration::from_millis(10)).await;
        assert!(!fetch.is_finished());
        advance(Duration::from_millis(20)).await;
        let error = fetch.await.expect("runs").expect_err("refused");
        assert_eq!(error.word(), "too_slow", "{error}");
    }
}

#[tokio::test]
async fn a_redirect_is_followed_three_times_and_checked_each_time() {
    let good = Provider::start(ok(&jwks(&[RSA_JWK]))).await;
    assert!(fetched(to(&good.url)).await.expect("follows").has_id("rsa-1"));
    for (target, word) in [
        ("http://10.0.0.1/keys", "not_https"),
        ("https://10.0.0.1/keys", "private_address"),
        ("https://169.254.169.254/latest", "private_address"),
        ("https://[fd00:ec2::254]/", "private_address"),
        ("//10.0.0.1/keys", "not_https"),
        ("https://10.0.0.1\\@provider.example/", "private_address"),
        ("http://[", "bad_url"),
        ("http://provider.example/keys", "not_https"),
        ("file:///etc/passwd", "not_https"),
        ("https://name:word@provider.example/", "bad_url"),
    ] {
        let error = refusal(to(target)).await;
        assert_eq!(error.word(), word, "{target}: {error}");
    }
    let circle = Provider::start(to("/again")).await;
    let error = fetcher().fetch(&circle.url).await.expect_err("refused");
    assert_eq!(error, KeyError::Redirected(3));
    assert_eq!(circle.fetches(), 4, "the first, and three redirects");
}

#[tokio::test]
async fn addresses_that_are_not_public_are_refused_without_a_connection() {
    let here = Provider::start(ok(&jwks(&[RSA_JWK]))).await;
    let public = Fetcher::new(Reach::Public).expect("a client");
    let port = here.url.split(':').nth(2).expect("a port");
    let cases = [
        (here.url.clone(), "not_https"),
        (format!("https://127.0.0.1:{port}"), "private_address"),
        (format!("https://127.1:{port}"), "private_address"),
        (format!("https://2130706433:{port}"), "private_address"),
        (format!("https://0x7f000001:{port}"), "private_address"),
        (format!("https://[::1]:{port}"), "private_address"),
        (format!("https://[::ffff:127.0.0.1]:{port}"), "private_address"),
        // A name: it resolves to loopback, which only the resolver can know.
        (format!("https://localhost:{port}"), "private_address"),
        ("https://user@provider.example/".into(), "bad_url"),
        ("https://provider.example/#keys".into(), "bad_url"),
        ("provider.example/keys".into(), "bad_url"),
        ("ftp://provider.example/keys".into(), "not_https"),
        ("https://".into(), "bad_url"),
    ];
    for (url, word) in cases {
        let error = public.fetch(&url).await.expect_err("refused");
        assert_eq!(error.word(), word, "{url}: {error}");
    }
    assert_eq!(here.fetches(), 0);
    // Loopback is all that the wider reach adds.
    let error = fetcher()
        .fetch("https://192.168.0.1/keys")
        .await
        .expect_err("refused");
    assert_eq!(error.word(), "private_address");
    let by_name = fetcher().fetch(&here.url.replace("127.0.0.1", "localhost")).await;
    assert!(by_name.is_ok(), "{by_name:?}");
}

#[tokio::test]
async fn a_provider_without_tls_is_unreachable_by_https() {
    let provider = Provider::start(ok(&jwks(&[RSA_JWK]))).await;
    let url = provider.url.replace("http:", "https:");
    let error = fetcher().fetch(&url).await.expect_err("refused");
    assert_eq!(error.word(), "unreachable", "{error}");
}

#[tokio::test]
async fn a_provider_that_is_away_is_unreachable() {
    let provider = Provider::start(ok("")).await;
    let url = provider.url.clone();
    provider.task.abort();
    let gone = async {
        while TcpStream::connect(url.split('/').nth(2).expect("an address"))
            .await
            .is_ok()
        {
            tokio::task::yield_now().await;
        }
    };
    gone.await;
    let error = fetcher().fetch(&url).await.expect_err("refused");
    assert_eq!(error.word(), "unreachable", "{error}");
}

// ------------------------------------------------------------------------------------------------------------ warnings

/// Counts the warnings of this thread.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl Warnings {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.target().contains("keys")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn the_log_tells_once_of_skipped_keys_and_once_a_minute_of_a_provider_that_is_away() {
    let _clock = StillClock::new();
    let warnings = Warnings::default();
    let _here = tracing::subscriber::set_default(warnings.clone());
    let (provider, keys) = remote(ok(&jwks(&[RSA_JWK, X25519_JWK]))).await;
    keys.keys().await.expect("keys");
    assert_eq!(warnings.count(), 1, "of the skipped key");
    for _ in 0..3 {
        advance(RENEW_AT_MOST_EVERY).await;
        keys.keys_with("unknown").await.expect("keys");
    }
    assert_eq!(
        (provider.fetches(), warnings.count()),
        (4, 1),
        "the same key again"
    );
    provider.answers(status("500 Internal Server Error"));
    advance(KEEP).await;
    for attempt in 1..=12 {
        keys.keys().await.expect("the old keys");
        until(|| provider.fetches() == 4 + attempt).await;
        drop(keys.turn().await);
        advance(FAILED_FOR).await;
    }
    assert_eq!(warnings.count(), 3, "of twelve failures in two minutes");
}

// ---------------------------------------------------------------------------------------------------------- remote keys

async fn remote(answer: Answer) -> (Provider, Arc<RemoteKeys>) {
    let provider = Provider::start(answer).await;
    let keys = Arc::new(RemoteKeys::new(fetcher(), provider.url.clone()));
    (provider, keys)
}

/// Waits, without a clock, until something is so.
async fn until(what: impl Fn() -> bool) {
    while !what() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn fifty_askers_at_once_cause_one_fetch() {
    let _clock = StillClock::new();
    let go = Arc::new(Notify::new());
    let Answer::Text(good) = ok(&jwks(&[RSA_JWK])) else {
        unreachable!("a text");
    };
    let (provider, keys) = remote(Answer::When(go.clone(), good)).await;
    let ask = |i: usize| {
        let keys = keys.clone();
        tokio::spawn(async move {
            match i % 2 {
                0 => keys.keys().await,
                _ => keys.keys_with("rsa-1").await,
            }
        })
    };
    let askers: Vec<_> = (0..50).map(ask).collect();
    provider.asked.notified().await;
    // The first asker goes away in the middle: the others lose nothing.
    askers[0].abort();
    go.notify_one();
    for asker in askers.into_iter().skip(1) {
        let read = asker.await.expect("runs").expect("keys");
        assert!(read.has_id("rsa-1"));
    }
    assert_eq!(provider.fetches(), 1);
}

#[tokio::test]
async fn an_unknown_key_id_renews_the_keys_at_most_once_a_minute() {
    let _clock = StillClock::new();
    let (provider, keys) = remote(ok(&jwks(&[RSA_JWK]))).await;
    assert!(keys.keys_with("rsa-1").await.expect("keys").has_id("rsa-1"));
    assert_eq!(provider.fetches(), 1, "a known id");
    provider.answers(ok(&jwks(&[RSA_JWK, P256_JWK])));
    let askers: Vec<_> = (0..50)
        .map(|_| {
            let keys = keys.clone();
            tokio::spawn(async move { keys.keys_with("p256-1").await })
        })
        .collect();
    for asker in askers {
        assert!(asker.await.expect("runs").expect("keys").has_id("p256-1"));
    }
    assert_eq!(provider.fetches(), 2, "the new key is found at once, for all");
    for i in 0..100 {
        let read = keys
            .keys_with(&format!("forged-{i}"))
            .await
            .expect("the old keys");
        assert!(read.has_id("rsa-1"));
    }
    assert_eq!(provider.fetches(), 2, "within the minute");
    advance(RENEW_AT_MOST_EVERY).await;
    for i in 0..100 {
        keys.keys_with(&format!("forged-{i}"))
            .await
            .expect("the old keys");
    }
    assert_eq!(provider.fetches(), 3, "once in the next minute");
}

#[tokio::test]
async fn old_keys_are_renewed_behind_the_caller() {
    let _clock = StillClock::new();
    let (provider, keys) = remote(ok(&jwks(&[RSA_JWK]))).await;
    keys.keys().await.expect("keys");
    provider.answers(ok(&jwks(&[P256_JWK])));
    advance(KEEP - Duration::from_secs(1)).await;
    keys.keys().await.expect("keys");
    assert_eq!(provider.fetches(), 1, "still new");
    advance(Duration::from_secs(1)).await;
    for _ in 0..10 {
        assert!(
            keys.keys().await.expect("keys").has_id("rsa-1"),
            "the caller does not wait"
        );
    }
    provider.asked.notified().await;
    provider.asked.notified().await;
    while !keys.keys().await.expect("keys").has_id("p256-1") {
        tokio::task::yield_now().await;
    }
    assert_eq!(provider.fetches(), 2);
}

#[tokio::test]
async fn old_keys_stay_in_use_for_a_day_while_the_provider_is_away() {
    let _clock = StillClock::new();
    let (provider, keys) = remote(ok(&jwks(&[RSA_JWK]))).await;
    keys.keys().await.expect("keys");
    provider.answers(status("503 Service Unavailable"));
    let read = keys.keys_with("new").await.expect("the old keys");
    assert!(read.has_id("rsa-1"));
    assert_eq!(provider.fetches(), 2);
    advance(STALE_AT_MOST - Duration::from_secs(60)).await;
    for _ in 0..10 {
        keys.keys().await.expect("the old keys");
    }
    until(|| provider.fetches() == 3).await;
    // The failure is known when the turn is free again.
    drop(keys.turn().await);
    keys.keys().await.expect("the old keys");
    assert_eq!(provider.fetches(), 3, "not again at once");
    advance(Duration::from_secs(60)).await;
    let error = keys.keys().await.expect_err("too old");
    assert_eq!(error, KeyError::Status(503));
    provider.answers(ok(&jwks(&[RSA_JWK])));
    advance(FAILED_FOR).await;
    assert!(keys.keys().await.expect("keys").has_id("rsa-1"), "back again");
}

#[tokio::test]
async fn a_first_failure_answers_everybody_for_a_while() {
    let _clock = StillClock::new();
    let (provider, keys) = remote(ok("<html>")).await;
    for _ in 0..50 {
        assert_eq!(keys.keys().await.expect_err("refused").word(), "not_json");
        assert_eq!(
            keys.keys_with("rsa-1").await.expect_err("refused").word(),
            "not_json"
        );
    }
    assert_eq!(provider.fetches(), 1);
    provider.answers(ok(&jwks(&[RSA_JWK])));
    advance(FAILED_FOR).await;
    keys.keys_with("rsa-1").await.expect("keys");
    assert_eq!(provider.fetches(), 2);
}

// ---------------------------------------------------------------------------------------------------------- keys in files

#[tokio::test]
async fn a_file_is_read_again_when_it_changes_and_a_broken_one_is_not_used() {
    pause();
    let warnings = Warnings::default();
    let _here = tracing::subscriber::set_default(warnings.clone());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys.json");
    assert_eq!(
        FileKeys::open(&path).expect_err("no file").word(),
        "unreadable_file"
    );
    std::fs::write(&path, jwks(&[RSA_JWK])).expect("writes");
    let keys = FileKeys::open(&path).expect("reads");
    let write = |text: &str| {
        // As an editor does it: the file is another one.
        let draft = folder.path().join("draft");
        std::fs::write(&draft, text).expect("writes");
        std::fs::rename(&draft, &path).expect("renames");
    };
    write(&jwks(&[P256_JWK]));
    assert!(keys.keys().has_id("rsa-1"), "looked at a moment ago");
    advance(file::LOOK_AT_MOST_EVERY).await;
    assert!(keys.keys().has_id("p256-1"));
    for broken in ["{", "", &" ".repeat(MAX_DOCUMENT_BYTES * 2), RSA_PRIVATE] {
        write(broken);
        for _ in 0..3 {
            advance(file::LOOK_AT_MOST_EVERY).await;
            assert!(keys.keys().has_id("p256-1"), "the old keys");
        }
    }
    assert_eq!(warnings.count(), 4, "one for each change");
    std::fs::remove_file(&path).expect("removes");
    advance(file::LOOK_AT_MOST_EVERY).await;
    assert!(keys.keys().has_id("p256-1"), "the old keys");
    write(RSA_PUBLIC);
    advance(file::LOOK_AT_MOST_EVERY).await;
    assert_eq!(keys.keys().candidates(Algorithm::RS256, Some("any")).count(), 1);
}
