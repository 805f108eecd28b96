//! The possible refusals of each operation, for the OpenAPI document: those that follow from its parts (a token, a body, a sale
//! in its path …), and its own. Tests compare them with the refusals that they meet.

use flashsale_protocol::Code;
use utoipa::openapi::{
    ContentBuilder, Ref, RefOr, Response, ResponseBuilder,
    extensions::ExtensionsBuilder,
    path::{Operation, ParameterIn},
};

/// The document's field for the codes of a response.
const CODES: &str = "x-codes";

/// Names every refusal of an operation, by HTTP status.
pub fn describe(operation: &mut Operation, problem: &str) {
    let mut codes = of(operation);
    codes.sort_by_key(|code| code.number());
    codes.dedup();
    let mut statuses: Vec<u16> = codes.iter().map(|code| code.http_status()).collect();
    statuses.sort_unstable();
    statuses.dedup();
    for status in statuses {
        let codes: Vec<Code> = codes
            .iter()
            .copied()
            .filter(|code| code.http_status() == status)
            .collect();
        let response = RefOr::T(refusal(&codes, problem));
        operation
            .responses
            .responses
            .entry(status.to_string())
            .or_insert(response);
    }
}

fn refusal(codes: &[Code], problem: &str) -> Response {
    let texts: Vec<String> = codes
        .iter()
        .map(|code| format!("`{}`: {}", code.word(), code.text()))
        .collect();
    let words: Vec<&str> = codes.iter().map(|code| code.word()).collect();
    let body = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(problem)))
        .build();
    ResponseBuilder::new()
        .description(texts.join("\n\n"))
        .content("application/problem+json", body)
        .extensions(Some(ExtensionsBuilder::new().add(CODES, words).build()))
        .build()
}

fn of(operation: &Operation) -> Vec<Code> {
    use Code::*;
    let mut codes = vec![Internal, BadHost];
    let tags = operation.tags.as_deref().unwrap_or_default();
    let is_of = |tag: &str| tags.iter().any(|its| its == tag);
    if is_of("operation") {
        return codes;
    }
    codes.extend([Unavailable, TooManyFromAddress, KeyInAddress]);
    let reads = |name: &str, place: ParameterIn| {
        let named = |of: &_| matches!(of, RefOr::T(utoipa::openapi::path::Parameter { name: its, parameter_in, .. }) if its == name && *parameter_in == place);
        operation.parameters.iter().flatten().any(named)
    };
    if operation.security.is_some() {
        codes.extend([
            TokenMissing,
            TokenInvalid,
            TokenExpired,
            DeviceMismatch,
            TooManyCommands,
            Busy,
            InvalidField,
            MerchantSuspended,
            WrongMerchant,
        ]);
        // A page of a shop that is not on its merchant's list.
        if is_of("line") || is_of("cart") {
            codes.push(OriginRefused);
        }
    }
    let is_keyed = reads("Idempotency-Key", ParameterIn::Header);
    // With a key, a body counts even if none is needed.
    if operation.request_body.is_some() || is_keyed {
        codes.extend([BadJson, FrameTooLarge, InvalidField]);
    }
    if is_keyed {
        codes.push(CommandIdReused);
    }
    if reads("If-Match", ParameterIn::Header) {
        codes.extend([InvalidField, VersionChanged]);
    }
    if reads("sale_id", ParameterIn::Path) {
        codes.push(SaleUnknown);
    }
    if reads("order_id", ParameterIn::Path) {
        codes.push(OrderUnknown);
    }
    if operation.security.is_some() && (is_of("admin") || is_of("operators")) {
        codes.extend([
            RoleRefused,
            ScopeMissing,
            ProofMissing,
            OriginRefused,
            TooManyFromAddress,
        ]);
    }
    if reads("user_id", ParameterIn::Path) || is_of("admin") {
        codes.push(Forbidden);
    }
    codes.extend(own(operation.operation_id.as_deref().unwrap_or_default()));
    codes
}

/// An operation's own refusals.
fn own(operation: &str) -> &'static [Code] {
    use Code::*;
    match operation {
        "beginSession" => &[DeviceUnknown, LinkUnknown],
        "makePlaceLink" => &[Forbidden],
        "showPlaceLink" => &[Forbidden, LinkUnknown],
        "listSales" | "listOwnSales" => &[InvalidField, MerchantUnknown],
        "createSale" => &[MerchantUnknown, MerchantSuspended, QuotaReached, PaymentsOff],
        "exportEntries" => &[QuotaReached],
        "setPicture" => &[PictureRefused, QuotaReached],
        "showPicture" => &[NotFound],
        "createMerchant" => &[MerchantTaken],
        "showShop" | "showMerchant" | "listMerchantKeys" | "listApiKeys" => &[MerchantUnknown],
        "changeMerchant" => &[MerchantUnknown, MerchantTaken],
        "addMerchantKey" => &[MerchantUnknown, QuotaReached, IssuerTaken],
        "showPerson" => &[MerchantUnknown, PersonUnknown],
        "forgetPerson" => &[MerchantUnknown, PersonUnknown, PersonBusy],
        "forgetMe" => &[PersonBusy],
        "makeApiKey" => &[MerchantUnknown, QuotaReached],
        "revokeMerchantKey" | "revokeApiKey" => &[MerchantUnknown, KeyUnknown],
        "showOperatorSession" => &[TooManyFromAddress],
        "signIn" => &[
            ProofMissing,
            OriginRefused,
            TlsNeeded,
            TooManySignIns,
            SignInRefused,
            CodeNeeded,
            CodeRefused,
            Busy,
        ],
        "beginCodes" => &[TooManySignIns, PasswordRefused, CodesThere, CodeRefused, Busy],
        "endCodes" => &[TooManySignIns, PasswordRefused, CodesNotThere, CodeRefused, Busy],
        "setPassword" => &[
            ProofMissing,
            OriginRefused,
            TlsNeeded,
            TooManySignIns,
            InviteUnknown,
            Busy,
            SignInRefused,
        ],
        "inviteOperator" => &[MerchantUnknown, OperatorTaken],
        "removeOperator" => &[OperatorUnknown],
        "joinQueue" => &[
            CommandSuperseded,
            TooManyChanges,
            Forbidden,
            DeviceMissing,
            RoomClosed,
            SaleEnded,
            EntriesClosed,
            NonceMissing,
            LimitReached,
            DeviceLimitReached,
            AlreadyInLine,
            DeviceInLine,
            AlreadyHeld,
            CheckoutRunning,
        ],
        "queuePosition" => &[Forbidden, NotInLine],
        "leaveQueue" => &[CommandSuperseded, NotInLine, AlreadyHeld, EntriesClosed],
        "showDraw" => &[NoDraw, Busy],
        "downloadDraw" => &[NoDraw, NotDrawnYet, Busy],
        "proveDraw" => &[NoDraw, NotDrawnYet, NotInDraw],
        "reserve" => &[
            SaleStopped,
            CommandSuperseded,
            TooManyChanges,
            SaleUnknown,
            DeviceMissing,
            SaleNotOpen,
            SaleEnded,
            SalePaused,
            SoldOut,
            NotEnough,
            NoneFree,
            LimitReached,
            DeviceLimitReached,
            JoinFirst,
            EntriesClosed,
            AlreadyHeld,
            CheckoutRunning,
        ],
        "release" => &[CommandSuperseded, NoHold, HoldExpired, CheckoutRunning],
        "extend" => &[
            SaleStopped,
            CommandSuperseded,
            TooManyChanges,
            SalePaused,
            SaleEnded,
            NoExtension,
            NoHold,
            HoldExpired,
            CheckoutRunning,
        ],
        "checkOut" => &[
            SaleStopped,
            OrderLost,
            CancelLimitReached,
            SaleUnknown,
            Forbidden,
            NoHold,
            HoldExpired,
            HoldReleased,
            CheckoutRunning,
            SoldOut,
            OrderCancelled,
            OrderConfirmed,
            PaymentDeclined,
            PaymentTooLate,
            PaymentPending,
            PaymentsOff,
        ],
        "showOrder" => &[SaleStopped, OrderLost],
        "payOrder" => &[
            SaleStopped,
            OrderLost,
            OrderCancelled,
            OrderConfirmed,
            PaymentDeclined,
            PaymentTooLate,
            PaymentPending,
            PaymentsOff,
        ],
        "cancelOrder" => &[SaleStopped, OrderLost, OrderCancelled, OrderConfirmed],
        "pauseSale" | "endSale" | "changeInflow" => &[SaleEnded, SaleWrongState],
        "resumeSale" => &[SaleEnded, SaleWrongState, PaymentsOff],
        "recoverSale" => &[NothingToRecover],
        "changeSupply" => &[SaleEnded, SaleWrongState, SupplyInUse],
        "setBeacon" => &[NoDraw, SaleEnded, SaleWrongState],
        "cancelForShop" => &[OrderCancelled, OrderConfirmed],
        "refundOrder" => &[NotPaid, AlreadyRefunded, RefundTooMuch],
        "retryRefund" | "showHandoff" | "refundDone" => &[PaymentUnknown],
        "redeemHandoff" => &[
            PaymentUnknown,
            HandoffInvalid,
            HandoffExpired,
            HandoffUsed,
            HandoffOver,
            OrderCancelled,
            OrderConfirmed,
            PaymentTooLate,
        ],
        "confirmHandoff" => &[
            PaymentUnknown,
            PaymentMismatch,
            AlreadyRefunded,
            HandoffOver,
            OrderCancelled,
            OrderConfirmed,
            PaymentTooLate,
        ],
        "failHandoff" => &[PaymentUnknown, AlreadyRefunded],
        "extendHandoff" => &[
            PaymentUnknown,
            ExtensionTooLong,
            HandoffOver,
            OrderCancelled,
            OrderConfirmed,
            PaymentTooLate,
        ],
        "paymentWebhook" => &[
            SignatureInvalid,
            SignatureExpired,
            PaymentUnknown,
            OrderUnknown,
            PaymentMismatch,
            // Without a provider.
            NotFound,
        ],
        "socket" => &[BadHandshake],
        _ => &[],
    }
}
