use super::*;
use flashsale_protocol::SaleId;

fn authority(secret: &str) -> Authority {
    let identity = Identity {
        jwt_secret: Some(secret.into()),
        jwt_public_key_file: vec![],
        jwt_issuer: None,
        jwt_audience: None,
    };
    Authority::open(&identity, Path::new("/nonexistent")).expect("a secret needs no folder")
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn word<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().expect("valid")
}

fn refusal(result: Result<Caller, Reject>) -> Code {
    result.expect_err("must be refused").code
}

#[test]
fn forged_expired_absent_and_unsigned_tokens_are_refused_each_with_its_code() {
    let ours = authority(SECRET);
    let life = Duration::from_secs(60);
    let good = ours.issue(word("u1"), Role::Admin, None, life).expect("signs");
    assert_eq!(ours.verify(&good, None).expect("accepted").role, Role::Admin);
    let forged = authority("another secret of thirty-two chars").issue(word("u1"), Role::Admin, None, life);
    assert_eq!(
        refusal(ours.verify(&forged.expect("signs"), None)),
        Code::TokenInvalid
    );
    assert_eq!(refusal(ours.verify("", None)), Code::TokenMissing);
    let claims = Claims {
        sub: word("u1"),
        exp: 1,
        role: Role::Shopper,
        device: None,
        iss: None,
        priority: Box::default(),
    };
    let expired =
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &ours.signing).expect("signs");
    assert_eq!(refusal(ours.verify(&expired, None)), Code::TokenExpired);
    let body = good.split('.').nth(1).expect("three parts");
    let none = format!("{}.{body}.", BASE64.encode(r#"{"alg":"none","typ":"JWT"}"#));
    assert_eq!(refusal(ours.verify(&none, None)), Code::TokenInvalid);
}

#[test]
fn a_guest_is_bound_to_its_device_and_a_device_cannot_be_made_up() {
    let ours = authority(SECRET);
    let device = ours.new_device().expect("a device");
    assert_eq!(ours.known_device(device.as_str()), Some(device.clone()));
    assert_eq!(
        ours.known_device("d_AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA"),
        None
    );
    assert_eq!(ours.known_device("d_x."), None);
    let guest = ours.guest(&device).expect("a guest");
    let token = ours
        .issue(guest, Role::Shopper, Some(device.clone()), GUEST_LIFE)
        .expect("signs");
    assert!(ours.verify(&token, Some(device)).is_ok());
    assert_eq!(
        refusal(ours.verify(&token, Some(word("other")))),
        Code::DeviceMismatch
    );
}

#[test]
fn a_queue_token_proves_one_place_and_signs_nobody_in() {
    let ours = authority(SECRET);
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
    assert_eq!(refusal(ours.verify(&token, None)), Code::TokenInvalid);
}

#[test]
fn a_token_is_good_from_its_first_to_before_its_last_moment_by_the_clock_that_all_of_us_use() {
    let claims = serde_json::json!({ "exp": 100, "nbf": 50 });
    let at = |now_ms| within_its_time(&claims, now_ms).map_err(|reject| reject.code);
    assert_eq!(
        [at(49_999), at(50_000), at(99_999), at(100_000)],
        [Err(Code::TokenInvalid), Ok(()), Ok(()), Err(Code::TokenExpired)]
    );
    for wrong in [
        serde_json::json!({}),
        serde_json::json!({ "exp": "100" }),
        serde_json::json!({ "exp": 100, "nbf": "soon" }),
    ] {
        let refused = within_its_time(&wrong, 60_000).expect_err("no time");
        assert_eq!(refused.code, Code::TokenInvalid, "{wrong}");
    }
}
