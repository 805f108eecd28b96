//! The figures as one self-contained page. Pure: from measurements to text.

use super::{
    Figure, Parts, Target, machine::Machine, orders::Orders, recovery_ms, scripts::BATCHES, scripts::Scripts,
};
use crate::figure::number;
use serde_json::Value;

const STYLE: &str = include_str!("page.css");
/// Sizes of a plot, in its own units: a row, the end of names, the start of bars, the room for values.
const WIDTH: f64 = 820.0;
const ROW: f64 = 26.0;
const NAMES: f64 = 250.0;
const VALUES: f64 = 110.0;
const BARS: f64 = WIDTH - NAMES - VALUES;

pub fn page(parts: &Parts, figures: &[Figure]) -> String {
    let mut body = String::from("<h1>What was measured</h1>\n");
    body += &facts(&parts.machine);
    body += &figures_table(figures);
    body += &parts.orders.as_ref().map(orders).unwrap_or_default();
    body += &parts.scripts.as_ref().map(scripts).unwrap_or_default();
    body += &parts.rush.as_ref().map(rush).unwrap_or_default();
    body += &parts.purchases.as_ref().map(purchases).unwrap_or_default();
    body += &parts.purchases_by_rate.as_ref().map(by_rate).unwrap_or_default();
    body += &parts.watch.as_ref().map(watch).unwrap_or_default();
    body += &chaos(&parts.chaos);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>flashsale: what was measured</title>\n<style>\n{STYLE}</style>\n<main>\n{body}</main>\n</html>\n"
    )
}

fn facts(machine: &Machine) -> String {
    let load = format!(
        "{} at the start, {} at the end, on {} cores",
        machine.load_at_start, machine.load_at_end, machine.cores
    );
    let warning = if machine.build == "release" {
        ""
    } else {
        " (not optimised: these figures say little)"
    };
    let rows = [
        ("When", machine.date.clone()),
        ("Commit", machine.commit.clone()),
        ("Build", format!("{}{warning}", machine.build)),
        (
            "Machine",
            format!("{} × {}, {} GiB", machine.cores, machine.cpu, machine.memory_gib),
        ),
        ("Kernel", machine.kernel.clone()),
        ("Load", load),
        ("Redis", machine.redis.clone()),
        ("Postgres", machine.postgres.clone()),
    ];
    let rows: String = rows
        .iter()
        .map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>\n", escape(value)))
        .collect();
    format!("<dl>\n{rows}</dl>\n")
}

fn figures_table(figures: &[Figure]) -> String {
    let rows: Vec<Vec<String>> = figures
        .iter()
        .map(|figure| {
            let (sign, bound) = match figure.target {
                Target::AtLeast(least) => ("≥", least),
                Target::AtMost(most) => ("≤", most),
            };
            let (class, word) = if figure.met {
                ("met", "met")
            } else {
                ("missed", "missed")
            };
            vec![
                escape(&figure.name),
                format!("{} {}", number(figure.value), figure.unit),
                format!("{sign} {} {}", number(bound), figure.unit),
                format!("<span class=\"{class}\">{word}</span>"),
            ]
        })
        .collect();
    table(&["Figure", "Measured", "Target", ""], &rows)
}

fn orders(orders: &Orders) -> String {
    let mut rates = vec![
        ("row by row, 1 connection".to_owned(), &orders.row_by_row_1, true),
        (
            "row by row, 16 connections".to_owned(),
            &orders.row_by_row_16,
            true,
        ),
    ];
    let groups = orders.group_with_fewer.iter().chain([&orders.group]);
    rates.extend(groups.map(|rate| {
        (
            format!("group commit, {} checkouts", number(rate.at_once as f64)),
            rate,
            false,
        )
    }));
    let bars = |value: fn(&super::orders::Rate) -> f64| -> Vec<Bar> {
        rates
            .iter()
            .map(|(name, rate, pale)| Bar {
                name: name.clone(),
                value: value(rate),
                pale: *pale,
            })
            .collect()
    };
    let rows: Vec<Vec<String>> = rates
        .iter()
        .map(|(name, rate, _)| {
            let mut row = vec![name.clone()];
            row.extend(
                [
                    rate.orders_per_s,
                    rate.orders_per_commit,
                    1e6 / rate.orders_per_s,
                    rate.postgres_cpu_us_per_order,
                    rate.client_cpu_us_per_order,
                ]
                .map(number),
            );
            row
        })
        .collect();
    String::from(
        "<h2>Durable orders</h2>\n<p>An order is told to its shopper when Postgres has it on disk. The group commit \
        settles all checkouts that came in while the last transaction ran in one more; row by row does the same work \
        (command, order, the lane under its guard, audit row) in a transaction of its own. In turns, on one lane, in one \
        run.</p>\n",
    ) + &plot(
        "Durable orders per second",
        "/s",
        &bars(|rate| rate.orders_per_s),
        None,
    ) + &plot(
        "Postgres CPU per order",
        "µs",
        &bars(|rate| rate.postgres_cpu_us_per_order),
        None,
    ) + &table(
        &[
            "",
            "orders/s",
            "orders per commit",
            "wall µs each",
            "Postgres CPU µs each",
            "client CPU µs each",
        ],
        &rows,
    )
}

fn scripts(scripts: &Scripts) -> String {
    let bar = |name: String, value: f64, pale: bool| Bar { name, value, pale };
    let reserve: Vec<Bar> = BATCHES
        .iter()
        .map(|batch| {
            bar(
                format!("{batch} in a batch"),
                scripts.cpu("reserve", *batch),
                *batch < 64,
            )
        })
        .collect();
    let in_64: Vec<Bar> = scripts
        .names()
        .into_iter()
        .map(|name| bar(name.to_owned(), scripts.cpu(name, 64), false))
        .collect();
    let rows: Vec<Vec<String>> = scripts
        .names()
        .into_iter()
        .map(|name| {
            let costs = BATCHES.iter().map(|batch| number(scripts.cpu(name, *batch)));
            [escape(name)].into_iter().chain(costs).collect()
        })
        .collect();
    let fences: Vec<Vec<String>> = scripts
        .fence
        .iter()
        .map(|fence| {
            vec![
                format!("{} in a batch", fence.batch),
                number(fence.with_us_per_item),
                number(fence.without_us_per_item),
            ]
        })
        .collect();
    String::from(
        "<h2>Scripts</h2>\n<p>CPU of the whole Redis process per item, as it runs in production: reading and parsing \
        requests, the script, answers, the append-only file.</p>\n",
    ) + &plot("Redis CPU per reservation", "µs", &reserve, Some(5.0))
        + &plot("Redis CPU per item, 64 in a batch", "µs", &in_64, None)
        + &table(
            &["Redis CPU, µs per item", "1 in a batch", "16", "64", "256"],
            &rows,
        )
        + &format!(
            "<p>Every lane script asks once per call whether Redis still lives the life in which the lane was opened (its run \
             id): that check alone takes {} µs. reserve with and without it:</p>\n",
            number(scripts.fence_us)
        )
        + &table(&["", "with, µs per item", "without, µs per item"], &fences)
}

fn rush(rush: &Value) -> String {
    let of = |key: &str| rush[key].as_f64().unwrap_or(0.0);
    let bars: Vec<Bar> = [
        ("reserve, half of them", "reserve_p50_ms", false),
        ("reserve, 99 of 100", "reserve_p99_ms", true),
        ("checkout, half of them", "checkout_p50_ms", false),
        ("checkout, 99 of 100", "checkout_p99_ms", true),
        ("join, 99 of 100", "join_p99_ms", true),
        ("pay, 99 of 100", "pay_p99_ms", true),
    ]
    .into_iter()
    .map(|(name, key, pale)| Bar {
        name: name.into(),
        value: of(key),
        pale,
    })
    .collect();
    format!(
        "<h2>Rush</h2>\n<p>{} shoppers at once for {} units, over real sockets, server and shoppers on this one machine: {} units \
         sold, {} oversold, {} orders lost, {} purchases per second.</p>\n",
        number(of("shoppers")),
        number(of("stock")),
        number(of("units_sold")),
        number(of("oversold")),
        number(of("lost_orders")),
        number(of("purchases_per_s"))
    ) + &plot("How long a command took", "ms", &bars, None)
}

/// A run's rows with their names.
fn cases(report: &Value) -> Vec<(String, &Value)> {
    let rows = report["rows"].as_array().into_iter().flatten();
    rows.map(|row| (row["case"].as_str().unwrap_or("?").to_owned(), row))
        .collect()
}

fn bars_of(cases: &[(String, &Value)], key: &str) -> Vec<Bar> {
    let bar = |(name, row): &(String, &Value)| Bar {
        name: name.clone(),
        value: row[key].as_f64().unwrap_or(0.0),
        pale: row["line"] == false,
    };
    cases.iter().map(bar).collect()
}

fn purchases(report: &Value) -> String {
    let of = |row: &Value, key: &str| number(row[key].as_f64().unwrap_or(0.0));
    let cases = cases(report);
    let rows: Vec<Vec<String>> = cases
        .iter()
        .map(|(name, row)| {
            let keys = [
                "purchases_per_s",
                "cpu_us_per_purchase",
                "gateway_us",
                "worker_us",
                "redis_us",
                "postgres_us",
                "provider_us",
                "generator_us",
                "wal_bytes_per_purchase",
                "postgres_round_trips_per_purchase",
                "redis_scripts_per_purchase",
                "refused",
            ];
            let numbers = keys.iter().map(|key| of(row, key));
            std::iter::once(escape(name)).chain(numbers).collect()
        })
        .collect();
    let goal = &report["at_the_goal"];
    let needs: Vec<Vec<String>> = [
        ("servers, cores", "server_cores"),
        ("Redis, cores", "redis_cores"),
        ("Postgres, cores", "postgres_cores"),
        ("Postgres' log, MB/s", "wal_mb_per_s"),
        ("network to shoppers, MB/s", "network_out_mb_per_s"),
        ("round trips to Redis, /s", "redis_round_trips_per_s"),
        ("round trips to Postgres, /s", "postgres_round_trips_per_s"),
    ]
    .into_iter()
    .map(|(name, key)| vec![name.to_owned(), of(goal, key)])
    .collect();
    format!(
        "<h2>Purchases</h2>\n<p>{} shoppers who watch the sale join its line, reserve, check out and pay, as fast as it goes: \
         CPU of each process by purchase. The payment provider's Postgres and the shoppers are apart; all share this machine. \
         Pale: without a line.</p>\n",
        of(report, "shoppers")
    ) + &plot(
        "CPU per purchase against lanes",
        "µs",
        &bars_of(&cases, "cpu_us_per_purchase"),
        Some(crate::purchases::CPU_US_MOST),
    ) + &table(
        &[
            "",
            "purchases/s",
            "CPU µs",
            "gateway",
            "worker",
            "Redis",
            "Postgres",
            "provider",
            "shoppers",
            "log B",
            "round trips to Postgres",
            "scripts",
            "refused",
        ],
        &rows,
    ) + &format!(
        "<p>What {} purchases a second take at this price (extrapolated: no machine has done it):</p>\n",
        of(goal, "purchases_per_s")
    ) + &table(&["", "extrapolated"], &needs)
}

fn by_rate(report: &Value) -> String {
    let cases = cases(report);
    String::from(
        "<p>Arrivals by chance at a rate, whatever the server does; times count from the arrival, and whoever is refused goes \
         away.</p>\n",
    ) + &plot(
        "CPU per purchase against load",
        "µs",
        &bars_of(&cases, "cpu_us_per_purchase"),
        None,
    ) + &plot(
        "reserve, 99 of 100",
        "ms",
        &bars_of(&cases, "reserve_p99_ms"),
        Some(100.0),
    ) + &plot(
        "checkout, 99 of 100",
        "ms",
        &bars_of(&cases, "checkout_p99_ms"),
        Some(500.0),
    ) + &plot(
        "shoppers who were not served",
        "",
        &bars_of(&cases, "unserved"),
        None,
    )
}

fn watch(watch: &Value) -> String {
    let rows: Vec<&Value> = watch["rows"].as_array().into_iter().flatten().collect();
    let of = |row: &Value, key: &str| row[key].as_f64().unwrap_or(0.0);
    let name = |row: &Value| {
        let (server, rate) = (row["server"].as_str().unwrap_or("?"), of(row, "rate"));
        if server == crate::watch::GROWING {
            return format!("{server} to {}, {rate}/s", number(of(row, "sockets")));
        }
        format!("{server}, {rate}/s")
    };
    let bars: Vec<Bar> = rows
        .iter()
        .map(|row| Bar {
            name: name(row),
            value: of(row, "us_per_frame"),
            pale: row["server"] != "gateway",
        })
        .collect();
    let lines: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let columns = [
                "sockets",
                "connects_per_s",
                "connect_cpu_us",
                "rss_bytes_per_socket",
                "kernel_bytes_per_socket",
                "delivery_p50_ms",
                "delivery_p99_ms",
                "delivery_p999_ms",
                "ticks_skipped",
                "wire_bytes_per_socket_s",
            ];
            let numbers = columns.iter().map(|key| number(of(row, key)));
            std::iter::once(escape(&name(row))).chain(numbers).collect()
        })
        .collect();
    format!(
        "<h2>Watching</h2>\n<p>{} shoppers who are signed in, watch one sale and stand in its line, server on one core and \
         shoppers on another; beside the gateway a bare loop that only writes (floor; short: frames of 40 bytes) and axum's own \
         broadcast, which know nothing of shoppers.</p>\n",
        number(of(watch, "sockets"))
    ) + &plot("Server CPU per delivered tick", "µs", &bars, None)
        + &table(
            &[
                "",
                "sockets",
                "connects/s",
                "CPU µs each",
                "user B each",
                "kernel B each",
                "p50 ms",
                "p99 ms",
                "p99.9 ms",
                "ticks skipped",
                "B/s each",
            ],
            &lines,
        )
}

fn chaos(runs: &[(String, Value)]) -> String {
    if runs.is_empty() {
        return String::new();
    }
    let bars: Vec<Bar> = recovery_ms(runs)
        .into_iter()
        .map(|(fault, took)| Bar {
            name: fault.replace('_', " "),
            value: took,
            pale: super::recovery_target_ms(&fault).is_none(),
        })
        .collect();
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|(file, run)| {
            let faults = run["faults_injected"].as_object();
            let injected: f64 = faults.into_iter().flatten().filter_map(|(_, n)| n.as_f64()).sum();
            vec![
                format!("{} (seed {})", escape(file), escape(&run["seed"].to_string())),
                number(injected),
                number(run["commands_acknowledged"].as_f64().unwrap_or(0.0)),
                number(run["violations"].as_array().map_or(0, Vec::len) as f64),
                number(run["leaked_units"].as_f64().unwrap_or(0.0)),
            ]
        })
        .collect();
    String::from(
        "<h2>Faults</h2>\n<p>How long after a fault was healed until units were taken again; the slowest of all runs.</p>\n",
    ) + &plot("Selling again", "ms", &bars, Some(3_000.0))
        + &table(
            &[
                "Run",
                "faults",
                "commands acknowledged",
                "violations",
                "units leaked",
            ],
            &rows,
        )
}

// ----------------------------------------------------------------------------------------------------------------- parts

struct Bar {
    name: String,
    value: f64,
    /// The bar that the others are compared with.
    pale: bool,
}

/// Horizontal bars, one below the other; the target as a dashed line.
fn plot(title: &str, unit: &str, bars: &[Bar], target: Option<f64>) -> String {
    let most = bars
        .iter()
        .map(|bar| bar.value)
        .chain(target)
        .fold(f64::MIN_POSITIVE, f64::max);
    let height = ROW * (bars.len() as f64 + if target.is_some() { 1.0 } else { 0.0 });
    let mut svg = String::new();
    for (i, bar) in bars.iter().enumerate() {
        let (top, length) = (ROW * i as f64, BARS * bar.value / most);
        let (middle, behind) = (top + ROW * 0.68, NAMES + length + 8.0);
        svg += &format!(
            "<text x=\"{:.0}\" y=\"{middle:.1}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{}\" x=\"{NAMES}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"3\"/>\
             <text class=\"value\" x=\"{behind:.1}\" y=\"{middle:.1}\">{} {unit}</text>\n",
            NAMES - 10.0,
            escape(&bar.name),
            if bar.pale { "pale" } else { "bar" },
            top + 4.0,
            length.max(1.0),
            ROW - 8.0,
            number(bar.value),
        );
    }
    if let Some(target) = target {
        let x = NAMES + BARS * target / most;
        let (end, below) = (height - ROW + 4.0, height - 7.0);
        svg += &format!(
            "<line class=\"target\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{end:.1}\"/>\
             <text class=\"target\" x=\"{x:.1}\" y=\"{below:.1}\" text-anchor=\"middle\">target {} {unit}</text>\n",
            number(target)
        );
    }
    format!(
        "<figure><figcaption>{title}</figcaption>\n<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\n\
         {svg}</svg></figure>\n"
    )
}

/// The first column is text, the others are numbers. Cells are HTML.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let class = |i: usize| if i == 0 { "" } else { " class=\"n\"" };
    let line = |tag: &str, cells: &mut dyn Iterator<Item = &str>| -> String {
        let cells: String = cells
            .enumerate()
            .map(|(i, cell)| format!("<{tag}{}>{cell}</{tag}>", class(i)))
            .collect();
        format!("<tr>{cells}</tr>\n")
    };
    let head = line("th", &mut head.iter().copied());
    let rows: String = rows
        .iter()
        .map(|row| line("td", &mut row.iter().map(String::as_str)))
        .collect();
    format!("<div class=\"wide\"><table>\n{head}{rows}</table></div>\n")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_a_file_cannot_add_markup_to_the_page() {
        let run = serde_json::json!({ "seed": "<b>", "recovery_ms": { "<script>": 1 }, "faults_injected": { "x": 2 } });
        let html = chaos(&[("chaos-<i>.json".into(), run)]);
        assert!(html.contains("chaos-&lt;i&gt;.json"), "{html}");
        for tag in ["<b>", "<script>", "<i>"] {
            assert!(!html.contains(tag), "{html}");
        }
    }
}
