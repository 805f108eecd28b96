use super::*;
use crate::config;
use flashsale_protocol::SaleId;

fn signer(secret: &str) -> Signer {
    let identity = Identity::of_secret(Some(secret.into()));
    Signer::open(&identity, Path::new("/nonexistent")).expect("a secret needs no folder")
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn word<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().expect("valid")
}

fn verify(signer: &Signer, token: &str) -> Result<Caller, Reject> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| Reject::new(Code::TokenInvalid))?;
    signer.verify(token, &header)
}

fn refusal(result: Result<Caller, Reject>) -> Code {
    result.expect_err("must be refused").code
}

#[test]
fn forged_expired_and_unsigned_tokens_are_refused_each_with_its_code() {
    let ours = signer(SECRET);
    let life = Duration::from_secs(60);
    let good = ours.issue(word("u1"), Role::Admin, None, life).expect("signs");
    assert_eq!(verify(&ours, &good).expect("accepted").role, Role::Admin);
    let forged = signer("another secret of thirty-two chars").issue(word("u1"), Role::Admin, None, life);
    assert_eq!(
        refusal(verify(&ours, &forged.expect("signs"))),
        Code::TokenInvalid
    );
    let claims = Claims {
        sub: word("u1"),
        exp: 1,
        role: Role::Shopper,
        device: None,
        priority: Box::default(),
    };
    let expired = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &ours.key).expect("signs");
    assert_eq!(refusal(verify(&ours, &expired)), Code::TokenExpired);
    let body = good.split('.').nth(1).expect("three parts");
    let none = format!("{}.{body}.", BASE64.encode(r#"{"alg":"none","typ":"JWT"}"#));
    assert_eq!(refusal(verify(&ours, &none)), Code::TokenInvalid);
}

/// The settings after a secret was rotated: what it made before stays good.
fn rotated(secrets: config::Secrets) -> Signer {
    let identity = Identity {
        secrets,
        ..Identity::of_secret(Some(SECRET.into()))
    };
    Signer::open(&identity, Path::new("/nonexistent")).expect("opens")
}

#[test]
fn a_secret_is_rotated_for_its_purpose_alone_and_the_one_before_stays_good() {
    let new = "fedcba9876543210fedcba9876543210";
    let both = Some(format!("{new},{SECRET}"));
    let (before, after, only_new) = (
        signer(SECRET),
        rotated(config::Secrets {
            tokens_secret: both.clone(),
            proofs_secret: both,
            ..config::Secrets::default()
        }),
        rotated(config::Secrets {
            tokens_secret: Some(new.into()),
            ..config::Secrets::default()
        }),
    );
    let token = |signer: &Signer| {
        signer
            .issue(word("u1"), Role::Shopper, None, GUEST_LIFE)
            .expect("signs")
    };
    assert!(verify(&after, &token(&before)).is_ok());
    assert!(verify(&only_new, &token(&after)).is_ok());
    assert_eq!(refusal(verify(&only_new, &token(&before))), Code::TokenInvalid);
    let sale = SaleId::from_parts(1, 1);
    let proof = before.seal().queue_token(sale, &word("u1")).expect("signs");
    assert!(after.seal().check_queue_token(&proof, sale, &word("u1")).is_ok());
    // What has a purpose of its own did not move.
    assert_eq!(before.seal().bits(&[b"x"]), only_new.seal().bits(&[b"x"]));
    assert_eq!(before.merchant_secret("k"), only_new.merchant_secret("k"));
    let short = Identity {
        secrets: config::Secrets {
            tokens_secret: Some("short".into()),
            ..config::Secrets::default()
        },
        ..Identity::of_secret(Some(SECRET.into()))
    };
    assert!(Signer::open(&short, Path::new("/nonexistent")).is_err());
}

#[test]
fn a_credential_proves_its_device_only_if_we_made_it() {
    let (ours, others) = (
        signer(SECRET).devices(),
        signer("another secret of thirty-two chars").devices(),
    );
    let device = ours.make().expect("a device");
    let shown = ours.check(&device.credential).expect("ours");
    assert_eq!(shown.id(), device.id.as_str());
    assert!(!shown.is_old());
    assert!(
        device.credential.parse::<DeviceId>().is_ok(),
        "clients send it as an id"
    );
    let old = ours.old_style(device.id.as_str()).expect("a device");
    assert!(ours.check(&old.credential).expect("ours").is_old());
    let other = ours.make().expect("a device");
    let tag = |credential: &str| credential.rsplit_once('.').expect("a tag").1.to_owned();
    for forged in [
        others.make().expect("a device").credential,
        device.id.to_string(),
        format!("{}.{}", device.id, tag(&device.credential)),
        device.credential.replace(device.id.as_str(), other.id.as_str()),
        device.credential.replacen(".0.", ".1.", 1),
        format!("{}.", device.id),
        "d_x.".into(),
        String::new(),
    ] {
        assert_eq!(ours.check(&forged), None, "{forged}");
    }
}

#[test]
fn a_queue_token_proves_one_place_and_signs_nobody_in() {
    let ours = signer(SECRET);
    let seal = ours.seal();
    let (sale, other) = (SaleId::from_parts(1, 1), SaleId::from_parts(1, 2));
    let token = seal.queue_token(sale, &word("u1")).expect("signs");
    assert!(seal.check_queue_token(&token, sale, &word("u1")).is_ok());
    assert_eq!(
        seal.check_queue_token(&token, sale, &word("u2"))
            .expect_err("borrowed")
            .code,
        Code::Forbidden
    );
    assert_eq!(
        seal.check_queue_token(&token, other, &word("u1"))
            .expect_err("elsewhere")
            .code,
        Code::Forbidden
    );
    assert_eq!(refusal(verify(&ours, &token)), Code::TokenInvalid);
}

#[test]
fn a_token_is_good_from_its_first_to_before_its_last_moment_by_our_clock_and_a_little_longer_by_anothers() {
    let claims = serde_json::json!({ "exp": 1000, "nbf": 500 });
    let at = |now_ms, leeway| within_its_time(&claims, now_ms, leeway).map_err(|reject| reject.code);
    assert_eq!(
        [
            at(439_999, 0.0),
            at(440_000, 0.0),
            at(999_999, 0.0),
            at(1_000_000, 0.0)
        ],
        [Err(Code::TokenInvalid), Ok(()), Ok(()), Err(Code::TokenExpired)]
    );
    assert_eq!(
        [at(1_059_999, LEEWAY_S), at(1_060_000, LEEWAY_S)],
        [Ok(()), Err(Code::TokenExpired)]
    );
    for wrong in [
        serde_json::json!({}),
        serde_json::json!({ "exp": "100" }),
        serde_json::json!({ "exp": 100, "nbf": "soon" }),
    ] {
        let refused = within_its_time(&wrong, 60_000, 0.0).expect_err("no time");
        assert_eq!(refused.code, Code::TokenInvalid, "{wrong}");
    }
}
