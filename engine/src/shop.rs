//! The tools of commands and workers: the stores, messages, the payment provider, and the sales as this process knows them.

use crate::{
    boxed,
    caller::Caller,
    captures::Captures,
    error::Result,
    here::Here,
    kept::Kept,
    known::KnownSales,
    live::Live,
    load::Load,
    merchants::{Merchants, is_person},
    payment::{PaymentProvider, Provider},
    sale::Sale,
    seal::Seal,
    showcase::{Showcase, View},
    stock::{Stock, shown::Showing},
    store::Store,
};
use flashsale_protocol::{Code, OrderId, Reject, SaleId};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::sync::Notify;

/// Number of sales that a process keeps in memory, and for how long. Changes are also announced over pub/sub.
const SALES_KEPT: u64 = 10_000;
/// Number of orders whose sale is remembered, and for how long: most are paid for soon, through the same gateway.
const ORDERS_KEPT: u64 = 100_000;
const ORDER_LIFE: Duration = Duration::from_secs(600);
const SALE_LIFE: Duration = Duration::from_secs(2);
/// Largest age of the knowledge which formats all processes know.
const FORMATS_LIFE: Duration = Duration::from_secs(1);
/// Largest age of the list of running sales.
const LED_LIFE: Duration = Duration::from_secs(1);

pub struct Shop {
    pub store: Arc<Store>,
    pub stock: Arc<Stock>,
    pub live: Live,
    pub here: Here,
    pub showcase: Arc<Showcase>,
    pub payments: PaymentProvider,
    pub merchants: Arc<Merchants>,
    pub seal: Seal,
    pub captures: Captures,
    /// How the stores do for purchases.
    pub load: Load,
    /// A sale was made in this process: its worker may lead it at once.
    pub sale_made: Notify,
    sales: Kept<SaleId, Option<Arc<Sale>>>,
    known: KnownSales,
    /// The sales of orders made or asked for here lately.
    orders: Kept<OrderId, SaleId>,
    /// The formats that every process knew a moment ago.
    formats: Kept<(), u16>,
    /// The sales that workers lead.
    led: Kept<(), Arc<Vec<Arc<Sale>>>>,
}

impl Shop {
    #[boxed]
    pub async fn open(
        store: Store,
        stock: Stock,
        here: Here,
        payments: PaymentProvider,
        seal: Seal,
    ) -> Result<Self> {
        let (store, stock) = (Arc::new(store), Arc::new(stock));
        Ok(Self {
            merchants: Arc::new(Merchants::open(store.clone()).await?),
            known: KnownSales::open(&store).await?,
            live: Live::new(stock.link().clone(), stock.keys().clone()),
            showcase: Arc::new(Showcase::new(store.clone(), stock.clone())),
            store,
            stock,
            here,
            payments,
            seal,
            captures: Captures::default(),
            load: Load::default(),
            sale_made: Notify::new(),
            sales: Kept::new(SALES_KEPT, SALE_LIFE),
            orders: Kept::new(ORDERS_KEPT, ORDER_LIFE),
            formats: Kept::new(1, FORMATS_LIFE),
            led: Kept::new(1, LED_LIFE),
        })
    }

    /// A sale from memory, or else from Postgres; many askers at once cause one query.
    pub async fn find_sale(&self, id: SaleId) -> Result<Option<Arc<Sale>>> {
        if let Some(found) = self.sales.get(&id).await {
            return Ok(found);
        }
        if !Box::pin(self.known.contains(&self.store, id)).await? {
            return Ok(None);
        }
        let read = async { Ok(self.store.sale(id).await?.map(Arc::new)) };
        Box::pin(self.sales.get_or_read(&id, read)).await
    }

    /// The sale, or the refusal that it does not exist.
    #[boxed]
    pub async fn sale(&self, id: SaleId) -> Result<Arc<Sale>, Reject> {
        self.find_sale(id).await?.ok_or_else(|| Code::SaleUnknown.into())
    }

    /// A sale as it is shown to everybody.
    #[boxed]
    pub async fn shown(&self, id: SaleId) -> std::result::Result<View, Reject> {
        if !self.known.contains(&self.store, id).await? {
            return Err(Code::SaleUnknown.into());
        }
        Ok(self.showcase.view(Showing::Sale(id)).await?)
    }

    /// The sales in which shoppers may have something: the list (at most a second old), and sales this process has heard of
    /// since. Many askers at once cause one query.
    #[boxed]
    pub async fn sales_on(&self) -> Result<Vec<Arc<Sale>>> {
        let led = self.led.get_or_read(&(), async {
            let sales = self.store.sales_to_lead().await?;
            Ok(Arc::new(sales.into_iter().map(Arc::new).collect::<Vec<_>>()))
        });
        let led = led.await?;
        let known = led.iter().map(|sale| sale.id).collect::<HashSet<_>>();
        let since = self.sales.values().into_iter().flatten();
        let since = since.filter(|sale| !known.contains(&sale.id));
        Ok(led.iter().cloned().chain(since).collect())
    }

    /// The caller as who they are in a sale.
    #[boxed]
    pub async fn meet(&self, caller: &Caller, sale: &Sale) -> Result<Caller, Reject> {
        if caller.at.as_deref() == Some(&sale.id) {
            return Ok(caller.clone());
        }
        let merchant = self.merchants.get(&sale.merchant).await?;
        caller.check_customer(&merchant, &self.merchants)?;
        let mut met = caller.clone().in_sale(sale.id);
        if self.merchants.is_erased(&caller.account) {
            return Err(Reject::because(
                Code::TokenInvalid,
                "Its owner was forgotten: sign in again.",
            ));
        }
        if !sale.has_opaque_ids() {
            met.shopper = caller.plain_id();
            return Ok(met);
        }
        if !is_person(&caller.account) {
            met.shopper = self.merchants.visitor(&merchant, &caller.account)?;
        }
        let device = caller
            .device
            .as_ref()
            .map(|device| merchant.device(device, caller.device_is_proven, &caller.account));
        met.device = device.transpose()?;
        Ok(met)
    }

    /// Whether a caller, met in a sale, is being forgotten at this moment.
    pub(crate) fn is_leaving(&self, met: &Caller) -> bool {
        self.merchants.is_leaving(&met.account) || self.merchants.is_leaving(&met.shopper)
    }

    /// The caller as who they are in the sale of an order; somebody else's order and an unknown one are not told apart.
    #[boxed]
    pub async fn meet_buyer(&self, caller: &Caller, order: OrderId) -> Result<Option<Caller>, Reject> {
        let sale = match self.orders.get(&order).await {
            Some(sale) => sale,
            None => match self.store.order(order).await? {
                Some(row) => row.sale,
                None => return Ok(None),
            },
        };
        self.note_order(order, sale).await;
        match self.meet(caller, &*self.sale(sale).await?).await {
            Ok(met) => Ok(Some(met)),
            Err(reject) if reject.code == Code::WrongMerchant => Ok(None),
            Err(reject) => Err(reject),
        }
    }

    /// Whether the page that asks may show a sale and take part in it. What somebody has already stays theirs on any page.
    pub async fn check_page(&self, caller: &Caller, sale: &Sale) -> Result<(), Reject> {
        match caller.page() {
            Some(_) => caller.check_page(&*self.merchants.get(&sale.merchant).await?),
            None => Ok(()),
        }
    }

    /// Whether units of a sale can be paid for.
    #[boxed]
    pub async fn check_payable(&self, sale: &Sale) -> Result<(), Reject> {
        self.payments.check(sale.sale_price)?;
        match &self.payments.provider {
            Provider::Merchant if sale.sale_price > 0 => self.checkout_of(sale).await.map(|_| ()),
            _ => Ok(()),
        }
    }

    /// The address of the shop's own checkout.
    pub(crate) async fn checkout_of(&self, sale: &Sale) -> Result<String, Reject> {
        let merchant = self.merchants.get(&sale.merchant).await?;
        merchant.row.checkout_url.clone().ok_or_else(no_checkout)
    }

    /// Whether units at this price could be paid for at a shop that is not made yet.
    pub fn check_payable_at_new(&self, price: i64) -> Result<(), Reject> {
        self.payments.check(price)?;
        match self.payments.provider {
            Provider::Merchant if price > 0 => Err(no_checkout()),
            _ => Ok(()),
        }
    }

    /// Notes whose sale an order is.
    pub(crate) async fn note_order(&self, order: OrderId, sale: SaleId) {
        self.orders.insert(&order, sale).await;
    }

    /// The format of a sale that is created now: the newest that every process knows.
    #[boxed]
    pub async fn new_format(&self) -> Result<u16> {
        let known = self.formats.get_or_read(&(), self.stock.common_formats());
        Ok(known.await?.max(1))
    }

    /// Forgets data of sales that have ended.
    pub fn retain(&self, keep: impl Fn(SaleId) -> bool) {
        self.stock.retain(&keep);
        self.store.retain(&keep);
        self.live.retain(&keep);
    }

    /// Forgets copies: the sale has changed in Postgres.
    #[boxed]
    pub async fn forget_sale(&self, id: SaleId) {
        self.sales.forget(&id).await;
        self.led.forget(&()).await;
        self.showcase.forget(id).await;
    }

    /// This process has changed the sale in Postgres: all processes read it anew.
    #[boxed]
    pub async fn sale_changed(&self, id: SaleId) -> Result<()> {
        self.stock.forget_looks(id).await?;
        self.forget_sale(id).await;
        self.live.changed(id).await
    }
}

fn no_checkout() -> Reject {
    Reject::because(
        Code::PaymentsOff,
        "The shop has not set the address of its checkout (checkout_url).",
    )
}
