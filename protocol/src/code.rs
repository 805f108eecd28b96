//! Every reject and close code, in one table each. A code's number range says what a client should do about it.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $word:literal, $status:literal, $retry:literal, $text:literal;)+) => {
        /// Why a command was refused.
        ///
        /// Ranges: 1xx the request is malformed, 2xx who you are, 3xx the sale says no, 4xx the order says no,
        /// 5xx too much or too fast, 9xx our failure.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $variant,)+
        }

        impl Code {
            pub const ALL: &[Code] = &[$(Code::$variant),+];

            /// The stable number, for logs and for clients that switch on it.
            pub const fn number(self) -> u16 {
                match self { $(Code::$variant => $number,)+ }
            }

            /// The stable word, as on the wire.
            pub const fn word(self) -> &'static str {
                match self { $(Code::$variant => $word,)+ }
            }

            /// The HTTP status of the same refusal through the REST door.
            pub const fn http_status(self) -> u16 {
                match self { $(Code::$variant => $status,)+ }
            }

            /// Whether the same command may succeed later without change.
            pub const fn retry(self) -> bool {
                match self { $(Code::$variant => $retry,)+ }
            }

            /// The text for a person, if the refusal has no more exact one.
            pub const fn text(self) -> &'static str {
                match self { $(Code::$variant => $text,)+ }
            }
        }
    };
}

codes! {
    BadJson = 100, "bad_json", 400, false, "The message is not JSON.";
    UnknownCommand = 101, "unknown_command", 400, false, "There is no such command.";
    InvalidField = 102, "invalid_field", 422, false, "A field is missing, unknown or has a wrong value.";
    BinaryFrame = 103, "binary_frame", 400, false, "This protocol is JSON in text frames; binary frames are not read.";
    FrameTooLarge = 104, "frame_too_large", 413, false, "The message is larger than allowed.";
    CommandIdReused = 105, "command_id_reused", 409, false, "This command id was used before with other contents.";
    NotFound = 106, "not_found", 404, false, "There is nothing at this address.";
    MethodNotAllowed = 107, "method_not_allowed", 405, false, "This address does not take this method.";

    BadHandshake = 108, "bad_handshake", 400, false, "This address speaks WebSocket, version 13, subprotocol flashsale.v1.";
    /// One of the shopper's older commands came again; nothing was done. `state` tells the present state.
    CommandSuperseded = 109, "command_superseded", 409, false, "This command came before newer ones of yours: nothing was done.";

    /// Programs on the way might each take another one.
    BadHost = 110, "bad_host", 400, false, "A request names one host, not several.";

    HelloFirst = 200, "hello_first", 401, false, "Say hello before any other command.";
    HelloTwice = 201, "hello_twice", 409, false, "This connection has said hello already.";
    TokenMissing = 202, "token_missing", 401, false, "A token is needed.";
    TokenInvalid = 203, "token_invalid", 401, false, "The token is not valid.";
    TokenExpired = 204, "token_expired", 401, false, "The token has expired.";
    Forbidden = 205, "forbidden", 403, false, "You may not do this.";
    DeviceMissing = 206, "device_missing", 422, false, "A device id is needed.";
    DeviceMismatch = 207, "device_mismatch", 403, false, "This token belongs to another device.";
    /// A merchant's token at a sale of another merchant.
    WrongMerchant = 210, "wrong_merchant", 403, false, "This token is of another shop.";
    /// A device's credential that is forged, too old, or replaced by a later one.
    DeviceUnknown = 211, "device_unknown", 401, false, "This device is not known any more: begin a session without it.";
    /// The page that asks is not on the merchant's list.
    OriginRefused = 212, "origin_refused", 403, false, "The shop does not allow this page to show its sales.";
    /// The webhook's body was not signed with our secret.
    SignatureInvalid = 208, "signature_invalid", 401, false, "The signature is not valid.";
    SignatureExpired = 209, "signature_expired", 401, false, "The signature's time is too far from now.";

    /// The same for an address that nobody has and for a wrong password.
    SignInRefused = 213, "sign_in_refused", 401, false, "The e-mail address or the password is wrong.";
    /// An operator whose role is too low.
    RoleRefused = 214, "role_refused", 403, false, "Your role does not allow this.";
    /// Other sites could make a browser send the session's cookie, but not this header.
    ProofMissing = 215, "proof_missing", 403, false, "A request with a session needs the header Flash-Sale-Operator: 1.";
    TlsNeeded = 216, "tls_needed", 403, false, "Operators sign in over https only; with --dev, also over http on this machine.";
    InviteUnknown = 217, "invite_unknown", 404, false, "This link is used or too old: ask for a new one.";
    /// A merchant's program, whose key was made for something else.
    ScopeMissing = 218, "scope_missing", 403, false, "The key lacks a scope.";
    KeyInAddress = 219, "key_in_address", 400, false, "API keys belong in the header Authorization, not in an address. Revoke this one: addresses stand in logs.";

    /// The password is right, and this operator has set up an authenticator app.
    CodeNeeded = 220, "code_needed", 401, false, "The code of your authenticator app is needed.";
    CodeRefused = 221, "code_refused", 401, false, "The code is wrong, too old, or was used before: wait for the next one.";
    /// For an operator who has signed in already.
    PasswordRefused = 222, "password_refused", 403, false, "The password is wrong.";
    CodesThere = 223, "codes_there", 409, false, "An authenticator app is set up already.";
    CodesNotThere = 224, "codes_not_there", 409, false, "No authenticator app is set up.";

    /// A link to another browser: the same for a guessed one, one that was taken, and one that is too old.
    LinkUnknown = 225, "link_unknown", 404, false, "This link was used, or is too old: make a new one.";

    SaleUnknown = 300, "sale_unknown", 404, false, "There is no such sale.";
    SaleNotOpen = 301, "sale_not_open", 409, true, "The sale has not started yet.";
    SaleEnded = 302, "sale_ended", 409, false, "The sale is over.";
    SalePaused = 303, "sale_paused", 409, true, "The sale is paused.";
    SoldOut = 304, "sold_out", 409, false, "Sold out.";
    /// Fewer units are free than requested, and the command did not allow a part.
    NotEnough = 305, "not_enough", 409, true, "Fewer units are free than you asked for.";
    /// Nothing is free now, but units in carts may come back.
    NoneFree = 306, "none_free", 409, true, "All units are in carts at the moment; some may come back.";
    LimitReached = 307, "limit_reached", 409, false, "You have reached the limit per person.";
    DeviceLimitReached = 308, "device_limit_reached", 409, false, "This device has reached its limit.";
    JoinFirst = 309, "join_first", 409, true, "Others are waiting: join the line, it will be your turn.";
    NotInLine = 310, "not_in_line", 409, false, "You are not in this line.";
    AlreadyInLine = 311, "already_in_line", 409, false, "You are in this line already, for another quantity.";
    DeviceInLine = 312, "device_in_line", 409, false, "This device is in line already for somebody else.";
    RoomClosed = 313, "room_closed", 409, true, "The waiting room has not opened yet.";
    AlreadyHeld = 314, "already_held", 409, false, "You hold units of this sale already.";
    SaleWrongState = 315, "sale_wrong_state", 409, false, "The sale is not in a state that allows this.";
    SupplyInUse = 316, "supply_in_use", 409, false, "You cannot go below the units that are sold or in carts.";
    NoDraw = 317, "no_draw", 404, false, "This sale has no draw.";
    NotDrawnYet = 318, "not_drawn_yet", 409, true, "The draw has not been held yet.";
    NotInDraw = 319, "not_in_draw", 404, false, "You are not in this draw.";
    /// A join, a leave, a change, or a reservation by somebody who was not drawn, after a draw's entries have closed.
    EntriesClosed = 320, "entries_closed", 409, false, "The entries of this draw have closed.";
    /// An operator's command had a condition, and other operators' changes came first.
    VersionChanged = 321, "version_changed", 412, false, "The sale's settings have changed since you read them.";
    /// Postgres knows less than before: nothing is sold until an operator has confirmed that. Places in line stay.
    SaleStopped = 322, "sale_stopped", 503, true, "Selling has stopped after a failure of ours. It goes on when we have looked into it; your place in line stays.";
    NothingToRecover = 323, "nothing_to_recover", 409, false, "Nothing of this sale is lost: there is nothing to recover.";
    /// Without a beacon the server could choose a nonce that wins, so it makes none.
    NonceMissing = 340, "nonce_missing", 400, false, "This sale is drawn: the client must send a nonce of its own.";
    /// Others wait, or it was extended before, or the sale does not allow it.
    NoExtension = 341, "no_extension", 409, false, "Your time cannot be extended.";

    MerchantUnknown = 324, "merchant_unknown", 404, false, "There is no such shop.";
    /// Another shop has this id or address.
    MerchantTaken = 325, "merchant_taken", 409, false, "Another shop has this name in addresses.";
    KeyUnknown = 326, "key_unknown", 404, false, "The shop has no such key.";
    /// A limit of the merchant: open sales, keys, exports at a time.
    QuotaReached = 327, "quota_reached", 409, false, "The shop has reached its limit.";
    MerchantSuspended = 328, "merchant_suspended", 403, false, "The shop is suspended.";
    PersonUnknown = 329, "person_unknown", 404, false, "The shop knows no such person.";
    /// Something of theirs is in a sale that is not over, or an order waits for its payment.
    PersonBusy = 330, "person_busy", 409, false, "They take part in a sale that is not over: they can be forgotten after it.";
    /// Else a shop could claim the customers of another: an issuer, an audience and public keys are no secret.
    IssuerTaken = 331, "issuer_taken", 409, false, "Another shop has public keys for this issuer and audience. Use an audience of your own, or ask an admin of the platform.";

    OperatorUnknown = 332, "operator_unknown", 404, false, "There is no such operator.";
    /// An address signs in one operator.
    OperatorTaken = 333, "operator_taken", 409, false, "An operator of another shop has this e-mail address.";

    /// Too many bytes or pixels, or no picture at all: the sentence says which.
    PictureRefused = 342, "picture_refused", 422, false, "This is no picture that we take.";

    NoHold = 400, "no_hold", 409, false, "You hold nothing in this sale.";
    HoldExpired = 401, "hold_expired", 409, false, "Your time to check out has run out.";
    HoldReleased = 402, "hold_released", 409, false, "You have given your units back.";
    CheckoutRunning = 403, "checkout_running", 409, true, "Your checkout is running.";
    OrderUnknown = 404, "order_unknown", 404, false, "There is no such order.";
    OrderCancelled = 405, "order_cancelled", 409, false, "The order is cancelled.";
    OrderConfirmed = 406, "order_confirmed", 409, false, "The order is confirmed already.";
    PaymentDeclined = 407, "payment_declined", 402, false, "The payment was declined.";
    PaymentTooLate = 408, "payment_too_late", 409, false, "The time to pay has run out.";
    /// One payment at a time: the earlier one's result arrives by itself, as an `order` event.
    PaymentPending = 409, "payment_pending", 409, true, "A payment of this order is being processed; its result comes by itself.";
    NotPaid = 410, "not_paid", 409, false, "The order is not paid.";
    AlreadyRefunded = 411, "already_refunded", 409, false, "The order's money has been given back already.";
    RefundTooMuch = 412, "refund_too_much", 422, false, "The refund is larger than what is left of the payment.";
    PaymentUnknown = 413, "payment_unknown", 404, false, "There is no such payment.";
    /// A webhook whose amount or currency differs from the payment's.
    PaymentMismatch = 414, "payment_mismatch", 422, false, "The amount, currency or reference does not match the payment.";
    /// Counted in this sale; the cart stays as it is, until its time ends.
    CancelLimitReached = 415, "cancel_limit_reached", 409, false, "You have cancelled, or not paid, too many orders of this sale.";
    /// The order was placed, and Postgres has lost it; the order itself says what has gone back.
    OrderLost = 416, "order_lost", 409, false, "This order was lost in a failure of ours; what you paid goes back.";
    /// The server was started without a payment provider, and this costs money.
    PaymentsOff = 417, "payments_off", 409, false, "Nothing can be paid for here at the moment.";
    /// A token that we have not signed.
    HandoffInvalid = 418, "handoff_invalid", 422, false, "This is no hand-off of ours.";
    HandoffExpired = 419, "handoff_expired", 409, false, "The hand-off is too old: the shopper starts again from the order.";
    /// Somebody else may have it by now: it went through a browser.
    HandoffUsed = 420, "handoff_used", 409, false, "The hand-off was redeemed before: the shopper starts again from the order.";
    /// Failed, by the shop's own word.
    HandoffOver = 421, "handoff_over", 409, false, "The payment is over: do not capture.";
    ExtensionTooLong = 422, "extension_too_long", 422, false, "The order cannot wait for its payment as long as that.";

    TooManyCommands = 500, "too_many_commands", 429, true, "Too many commands: slow down.";
    TooManySockets = 501, "too_many_sockets", 429, true, "Too many connections for one shopper.";
    TooManyFromAddress = 502, "too_many_from_address", 429, true, "Too much comes from one address, or from the network around it. Many people may share it; try again a little later.";
    TooManySales = 503, "too_many_sales", 429, false, "One connection can watch a few sales only.";
    Busy = 504, "busy", 503, true, "Very busy at the moment: try again shortly.";
    /// Joined and left, or reserved and released, too many times.
    TooManyChanges = 505, "too_many_changes", 429, false, "You have changed your mind too often in this sale.";
    TooManySignIns = 506, "too_many_sign_ins", 429, true, "Too many tries to sign in: wait a little.";

    Unavailable = 900, "unavailable", 503, true, "Temporarily unavailable. Your command may be repeated with the same id.";
    Internal = 901, "internal", 500, false, "Something failed on our side.";
}

macro_rules! close_codes {
    ($($variant:ident = $number:literal, $word:literal, $text:literal;)+) => {
        /// Why the server closed a socket. 1xxx: as in RFC 6455; 40xx: reconnect with back-off; 41xx: reconnect with a fresh
        /// token; 45xx: do not reconnect by yourself.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum CloseCode {
            $($variant,)+
        }

        impl CloseCode {
            pub const ALL: &[CloseCode] = &[$(CloseCode::$variant),+];

            pub const fn number(self) -> u16 {
                match self { $(CloseCode::$variant => $number,)+ }
            }

            pub const fn word(self) -> &'static str {
                match self { $(CloseCode::$variant => $word,)+ }
            }

            pub const fn text(self) -> &'static str {
                match self { $(CloseCode::$variant => $text,)+ }
            }

            pub fn from_number(number: u16) -> Option<CloseCode> {
                match number { $($number => Some(CloseCode::$variant),)+ _ => None }
            }
        }
    };
}

close_codes! {
    FrameTooLarge = 1009, "frame_too_large", "A frame was larger than allowed.";
    ProtocolError = 1002, "protocol_error", "The WebSocket protocol was broken.";
    Draining = 4000, "draining", "This gateway is being replaced: reconnect.";
    TooSlow = 4001, "too_slow", "The connection did not keep up with its replies.";
    Idle = 4002, "idle", "Nothing was heard from the client for too long.";
    HelloTimeout = 4003, "hello_timeout", "No hello came in time.";
    MessageTimeout = 4004, "message_timeout", "A message was begun and not finished in time.";
    TokenExpired = 4100, "token_expired", "The token has expired.";
    TokenInvalid = 4101, "token_invalid", "The token is not valid.";
    TooManySockets = 4500, "too_many_sockets", "Too many connections for one shopper: the oldest was closed.";
    Abuse = 4501, "abuse", "Too many refused commands on one connection.";
}

macro_rules! reasons {
    ($($variant:ident = $word:literal, $of:literal, $text:literal;)+) => {
        /// Why an entry, a hold or an order is as it is, if its state alone does not tell.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[cfg_attr(feature = "ts", derive(ts_rs::TS), ts(type = "string"))]
        pub enum Reason {
            $($variant,)+
            /// A word of a newer server. A reason only explains, so it must not make a message unreadable.
            Unknown,
        }

        impl Reason {
            pub const ALL: &[Reason] = &[$(Reason::$variant),+];

            /// The stable word, as on the wire and in Postgres.
            pub const fn word(self) -> &'static str {
                match self { $(Reason::$variant => $word,)+ Reason::Unknown => "unknown" }
            }

            /// The kind of message, and its state, that it explains.
            pub const fn of(self) -> &'static str {
                match self { $(Reason::$variant => $of,)+ Reason::Unknown => "" }
            }

            pub const fn text(self) -> &'static str {
                match self { $(Reason::$variant => $text,)+ Reason::Unknown => "" }
            }

            pub fn from_word(word: &str) -> Reason {
                let known = Self::ALL.iter().find(|reason| reason.word() == word);
                known.copied().unwrap_or(Reason::Unknown)
            }
        }
    };
}

reasons! {
    LimitReached = "limit_reached", "entry removed", "The shopper has as many units as one person may have.";
    NoSupply = "no_supply", "hold revoked", "There were no units left for the order; nothing was charged.";
    CheckoutFailed = "checkout_failed", "hold revoked", "The checkout stopped before there was an order; nothing was charged.";
    StockLost = "stock_lost", "hold revoked, entry lapsed", "The store of holds has failed, and this one could not be kept; nothing was charged.";
    Restored = "restored", "hold held, entry waiting", "The store of holds has failed; this was lost and has been restored.";
    LineLost = "line_lost", "entry removed", "The store of the line has failed, and this place could not be kept: join again.";
    Drawn = "drawn", "entry admitted", "You were drawn.";
    PassedOn = "passed_on", "entry admitted", "Somebody who was drawn before you did not take their units: they are yours now.";
    Absent = "absent", "entry removed", "The shopper was away for too long.";
    SalePaused = "sale_paused", "tick slowed", "The sale is paused.";
    InflowCut = "inflow_cut", "tick slowed", "The shop lets fewer people in at a time.";
    Capacity = "capacity", "tick slowed", "So many people are buying that the shop lets in only as many as it can serve well.";
    StockLow = "stock_low", "tick slowed", "No unit is free: the line moves on when one comes back from a cart.";
    EndsFirst = "ends_first", "queue position", "The sale ends before this turn would come; the units left then are drawn among all in line.";
    ByShopper = "by_shopper", "order cancelled", "The shopper has cancelled it.";
    ByShop = "by_shop", "order cancelled", "The shop has cancelled it; what was paid for it goes back.";
    Unpaid = "unpaid", "order cancelled", "It was not paid in time.";
    PaymentFailed = "payment_failed", "order cancelled", "It was confirmed, but its money could not be collected; nothing was charged.";
    Refunded = "refunded", "order cancelled", "The shop has given all of its money back.";
    OrderLost = "order_lost", "order cancelled", "It was lost in a failure of ours; what was paid for it goes back.";
}

// Written out: a derive compares with every word in code of its own, and the browser downloads it.
impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        let known = Self::ALL.iter().find(|code| code.word() == word);
        known.copied().ok_or_else(|| de::Error::custom("no code's word"))
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from_word(&String::deserialize(deserializer)?))
    }
}

/// The tables, as schemas.
#[cfg(feature = "openapi")]
mod schema {
    use super::{Code, Reason};
    use utoipa::{
        PartialSchema, ToSchema,
        openapi::{ObjectBuilder, RefOr, Schema, Type},
    };

    fn words<'a>(of: impl Iterator<Item = &'a str>, text: String) -> RefOr<Schema> {
        let words = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(text))
            .enum_values(Some(of));
        RefOr::T(Schema::Object(words.build()))
    }

    impl ToSchema for Code {}

    impl PartialSchema for Code {
        fn schema() -> RefOr<Schema> {
            let mut text =
                String::from("| code | number | HTTP | retry | meaning |\n|---|---|---|---|---|\n");
            for code in Code::ALL {
                text += &format!(
                    "| `{}` | {} | {} | {} | {} |\n",
                    code.word(),
                    code.number(),
                    code.http_status(),
                    if code.retry() { "yes" } else { "no" },
                    code.text()
                );
            }
            words(Code::ALL.iter().map(|code| code.word()), text)
        }
    }

    impl ToSchema for Reason {}

    impl PartialSchema for Reason {
        fn schema() -> RefOr<Schema> {
            let mut text = String::from("| reason | of | meaning |\n|---|---|---|\n");
            for reason in Reason::ALL {
                text += &format!("| `{}` | {} | {} |\n", reason.word(), reason.of(), reason.text());
            }
            words(Reason::ALL.iter().map(|reason| reason.word()), text)
        }
    }
}

/// A client's action after a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterClose {
    Reconnect,
    ReconnectWithFreshToken,
    Stay,
}

/// A client's action after a close with this number, known or unknown (source of truth for every client).
pub const fn after_close(number: u16) -> AfterClose {
    match number {
        4100..=4199 => AfterClose::ReconnectWithFreshToken,
        // A client that broke the protocol would only break it again.
        1002 | 1003 | 1007 | 1009 | 1010 | 4500..=4999 => AfterClose::Stay,
        _ => AfterClose::Reconnect,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn numbers_and_words_are_given_once() {
        let numbers: HashSet<_> = Code::ALL.iter().map(|c| c.number()).collect();
        let words: HashSet<_> = Code::ALL.iter().map(|c| c.word()).collect();
        assert_eq!((numbers.len(), words.len()), (Code::ALL.len(), Code::ALL.len()));
        let closes: HashSet<_> = CloseCode::ALL.iter().map(|c| c.number()).collect();
        assert_eq!(closes.len(), CloseCode::ALL.len());
        let reasons: HashSet<_> = Reason::ALL.iter().map(|r| r.word()).collect();
        assert_eq!(reasons.len(), Reason::ALL.len());
    }

    #[test]
    fn a_reason_of_a_newer_server_does_not_make_a_message_unreadable() {
        for reason in Reason::ALL {
            let word = serde_json::to_value(reason).expect("serialises");
            assert_eq!(
                serde_json::from_value::<Reason>(word).expect("reads back"),
                *reason
            );
        }
        assert_eq!(
            serde_json::from_str::<Reason>("\"new_word\"").expect("reads"),
            Reason::Unknown
        );
    }

    #[test]
    fn the_word_is_what_stands_on_the_wire() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).expect("serialises"), code.word());
        }
    }

    #[test]
    fn our_failures_and_overload_are_server_errors_and_the_rest_is_not() {
        for code in Code::ALL {
            let of_ours = [Code::Busy, Code::SaleStopped];
            let server_error = code.number() >= 900 || of_ours.contains(code);
            assert_eq!(code.http_status() >= 500, server_error, "{}", code.word());
        }
    }
}
