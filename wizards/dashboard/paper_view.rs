//! The paper book's screen: what kind of money, switches, positions, orders.

use super::model::{OrderRow, PaperSnapshot, PositionRow, SwitchRow};
use super::text::{bad, drawdowns, fit, good, heading, money, pad, plain, sparkline};
use super::view::{Page, Section};
use ratatui::text::Line;

/// `width` = the whole screen, `column` = one column of sections.
pub fn page(book: &PaperSnapshot, width: usize, column: usize) -> Page {
    let title = text!("TradeML {} account {}  (no real money)  dataset {}", book.mode.to_uppercase(), book.account, book.dataset);
    let positions = list(&position_heading(column), book.positions.iter().map(|p| position_line(p, column)), "none", 2);
    let orders = list("Orders", book.orders.iter().map(|o| order_line(o, column)), "none today", 3);
    let switches = list("Switches", book.switches.iter().map(|s| switch_line(s, column)), "no record: everything is refused", 1);
    Page { title, head: head(book, width), left: vec![switches, positions], right: vec![orders] }
}

fn list(title: &str, lines: impl Iterator<Item = Line<'static>>, none: &str, priority: u8) -> Section {
    let mut all = vec![heading(title)];
    all.extend(lines);
    if all.len() == 1 {
        all.push(Line::from(plain(text!("  {none}"))));
    }
    Section { lines: all, priority }
}

fn head(book: &PaperSnapshot, width: usize) -> Vec<Line<'static>> {
    let clock = book.now.map_or("clock unknown".to_string(), |t| t.to_string().chars().take(19).collect::<String>() + "Z");
    let gain = |amount: f64| {
        let text = if amount > 0.0 { format!("+{}", money(amount)) } else { money(amount) };
        if amount < 0.0 { bad(text) } else { good(text) }
    };
    let (now, deepest) = drawdowns(&book.equity_path);
    let path = text!(
        "drawdown {:.1} %, deepest {:.1} %   equity since the start {}",
        now * 100.0,
        deepest * 100.0,
        sparkline(&book.equity_path, width.saturating_sub(60))
    );
    vec![
        Line::from(fit(&text!("{clock}   session {}   champion {}", book.session, book.champion), width)),
        Line::from(vec![
            plain(text!("equity {}   today ", money(book.equity_usd))),
            gain(book.pnl_day_usd),
            plain("   since start "),
            gain(book.pnl_total_usd),
        ]),
        Line::from(fit(&text!("cash {}   gross {:.1} %   net {:.1} %", money(book.cash_usd), book.gross_exposure * 100.0, book.net_exposure * 100.0), width)),
        Line::from(fit(&path, width)),
    ]
}

/// Over the columns of [`position_line`].
fn position_heading(width: usize) -> String {
    let price = if width >= 72 { format!("{:>14} ", term!("price")) } else { String::new() };
    text!("{} {:>9} {price}{:>8}  {:>12}", pad("Positions", 16), "shares", "weight", "profit")
}

fn position_line(row: &PositionRow, width: usize) -> Line<'static> {
    let side = if row.qty < 0.0 { "SHORT" } else { "LONG" };
    let price = if width >= 72 { text!("at {:>11} ", money(row.price_usd)) } else { String::new() };
    let text = text!("  {} {side:<5} {:>9} {price}{:>6.1} %  ", pad(&row.symbol, 8), row.qty.abs(), row.weight * 100.0);
    let pnl = format!("{:>12}", money(row.pnl_usd));
    Line::from(vec![plain(text), if row.pnl_usd < 0.0 { bad(pnl) } else { good(pnl) }])
}

fn order_line(row: &OrderRow, width: usize) -> Line<'static> {
    Line::from(fit(&text!("  {} {:<4} {:>9} {} {}", pad(&row.symbol, 8), row.side, row.qty, pad(&row.state, 10), row.reason), width))
}

fn switch_line(row: &SwitchRow, width: usize) -> Line<'static> {
    // ACTIVE and OPEN alone are read the other way round.
    let state = if row.permits { good("increases pass") } else { bad(text!("{} STOPS INCREASES", row.state)) };
    Line::from(vec![plain(format!("  {} ", pad(&row.name.replace('_', " "), 16))), state, plain(format!("  {}", fit(&row.reason, width.saturating_sub(44))))])
}
