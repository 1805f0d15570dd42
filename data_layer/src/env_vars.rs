//! Every environment variable of the program, in one table: the source of `docs/reference/environment.md`.
//!
//! A test walks the workspace and fails when a variable is read that the table does not list.

/// Who a variable is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// This machine's identity, folders and limits.
    Machine,
    /// Keys and contacts of vendors and the broker.
    Keys,
    /// What a run may do.
    Policy,
    /// How the program talks to a person.
    Screen,
    /// Hooks for tests and rigs (`docs/testing-hooks.md`).
    Testing,
}

impl Scope {
    fn title(self) -> &'static str {
        match self {
            Self::Machine => "This machine",
            Self::Keys => "Keys and contacts",
            Self::Policy => "Policy",
            Self::Screen => "Screen",
            Self::Testing => "Testing",
        }
    }
}

/// One variable. A `name` that ends in `_*` stands for a family.
#[derive(Clone, Copy, Debug)]
pub struct EnvVar {
    pub name: &'static str,
    pub meaning: &'static str,
    pub default: &'static str,
    pub example: &'static str,
    pub secret: bool,
    pub scope: Scope,
}

const fn plain(scope: Scope, name: &'static str, default: &'static str, example: &'static str, meaning: &'static str) -> EnvVar {
    EnvVar { name, meaning, default, example, secret: false, scope }
}

const fn key(name: &'static str, meaning: &'static str) -> EnvVar {
    EnvVar { name, meaning, default: "none", example: "(from the vendor's site)", secret: true, scope: Scope::Keys }
}

use Scope::{Keys, Machine, Policy, Screen, Testing};

/// The table, grouped by scope.
pub const ALL: &[EnvVar] = &[
    plain(Machine, "TRADEML_ROOT", "none", "/mnt/ssd/data_layer", "The data root; the flag `--root` wins over it."),
    plain(Machine, "TRADEML_DRIVE", "none", "(the drive's id)", "The id of that drive: it is found by it when it is mounted somewhere else."),
    plain(Machine, "TRADEML_ENV", "local", "local", "`local`, `dev` or `prod`: picks the configuration layer `env/<name>/`."),
    plain(Machine, "TRADEML_ENV_FILE", "`$XDG_CONFIG_HOME/trademl/.env`", "/etc/trademl/env", "The secrets file to use. It must not lie on the data drive."),
    plain(Machine, "TRADEML_DEMO_ROOT", "`$HOME/trademl-demo`", "/tmp/trademl-demo", "Where `make demo` puts its data root."),
    plain(Machine, "EDGE_NODE_ID", "the host's name", "pi-1", "A label in leases and logs. Changing it alone asks nothing again."),
    plain(Machine, "NODE_MAX_INFLIGHT_DEFAULT", "2", "2", "Requests in flight per vendor on this machine."),
    plain(Machine, "NODE_MAX_INFLIGHT_*", "edge.yml", "NODE_MAX_INFLIGHT_ALPACA=16", "The same for one vendor; sets `inflight.<vendor>` of edge.yml."),
    plain(
        Machine,
        "VENDOR_FREEZE_SECONDS_*",
        "edge.yml",
        "VENDOR_FREEZE_SECONDS_SEC_EDGAR=600",
        "Pause after a vendor refuses; sets `freeze_seconds.<vendor>` of edge.yml.",
    ),
    plain(Machine, "EDGE_SCHEDULER_MODE", "per_vendor", "per_vendor", "Accepted for compatibility; `per_vendor` is the only mode."),
    plain(Machine, "XDG_CONFIG_HOME", "`$HOME/.config`", "/home/me/.config", "Where this machine's settings and keys live (`trademl/`)."),
    plain(Machine, "XDG_STATE_HOME", "`$HOME/.local/state`", "/home/me/.local/state", "Where logs go until the drive is known, and the sandbox's state."),
    plain(Machine, "HOME", "set by the system", "/home/me", "Used where the two variables above are not set."),
    plain(Machine, "NOTIFY_SOCKET", "set by systemd", "(set by systemd)", "Readiness and watchdog messages when running as a service."),
    plain(Machine, "TZ", "set by the system", "Europe/Berlin", "Only shown: maintenance hours are local, everything stored is UTC."),
    key("ALPACA_API_KEY", "Alpaca key id: prices, and paper orders."),
    key("ALPACA_API_SECRET", "Alpaca secret key."),
    key("CTRADER_CLIENT_ID", "Client id of your cTrader Open API application: demo orders."),
    key("CTRADER_CLIENT_SECRET", "Client secret of that application."),
    key("CTRADER_ACCESS_TOKEN", "Token that opens the accounts; made and renewed by `trademl paper authorize`."),
    key("CTRADER_REFRESH_TOKEN", "Token that renews the other, once."),
    plain(Keys, "CTRADER_ACCOUNT", "the only demo account", "5012345", "Login or id of the demo account, where the token opens several."),
    plain(Keys, "CTRADER_PROTOCOL", "protobuf", "json", "How cTrader is spoken to: `protobuf` (port 5035), or `json` over a websocket (port 5036)."),
    key("TIINGO_API_KEY", "Tiingo token: end-of-day depth before 2016."),
    key("MASSIVE_API_KEY", "Massive (formerly Polygon) key."),
    key("FINNHUB_API_KEY", "Finnhub token."),
    key("ALPHA_VANTAGE_API_KEY", "Alpha Vantage key: dated listings."),
    key("FMP_API_KEY", "Financial Modeling Prep key."),
    key("FRED_API_KEY", "FRED/ALFRED key: macro series with vintages."),
    key("TRADEML_NOTIFY_SLACK_URL", "Incoming webhook of a Slack channel that the night reports to."),
    key("TRADEML_NOTIFY_DISCORD_URL", "Webhook of a Discord channel that the night reports to."),
    key("TRADEML_NOTIFY_WEBHOOK_URL", "A generic webhook that the night reports to; signed with the next."),
    key("TRADEML_NOTIFY_WEBHOOK_SECRET", "Key of the HMAC-SHA256 signature of the generic webhook."),
    key("TRADEML_NOTIFY_SMTP_URL", "Mail server that the night reports through, with user and password: smtps://… or smtp://…?tls=required."),
    plain(
        Keys,
        "TRADEML_NOTIFY_SMTP_CA",
        "none",
        "/etc/ssl/own-ca.pem",
        "File with the PEM certificate of the mail server's own authority, beside those of the system.",
    ),
    plain(Keys, "TRADEML_NOTIFY_EMAIL_FROM", "none", "TradeML <desk@example.org>", "Sender of the night's e-mail; needed with TRADEML_NOTIFY_SMTP_URL."),
    plain(
        Keys,
        "TRADEML_NOTIFY_EMAIL_TO",
        "none",
        "jane@example.org",
        "Receivers of the night's e-mail, separated by commas; needed with TRADEML_NOTIFY_SMTP_URL.",
    ),
    plain(
        Keys,
        "MLFLOW_TRACKING_URI",
        "no copy is made",
        "http://127.0.0.1:5000",
        "An MLflow server that gets a copy of the registry; https beyond the local network.",
    ),
    plain(Keys, "MLFLOW_TRACKING_USERNAME", "none", "jane", "User at that server; needs the password."),
    key("MLFLOW_TRACKING_PASSWORD", "Password at that server."),
    key("MLFLOW_TRACKING_TOKEN", "Bearer token at that server, in place of user and password."),
    key("TRADEML_SERVICE_TOKEN", "Bearer token of the signal service; required when it does not listen on loopback."),
    plain(Keys, "SEC_CONTACT", "none", "Jane Doe jane@example.org", "Name and e-mail sent to SEC EDGAR in the user agent. Not a secret."),
    plain(
        Policy,
        "TRAINING_ENABLE_AUTO_PROMOTE",
        "false in `local`",
        "true",
        "Whether a challenger that passes every bar becomes champion without a further command.",
    ),
    plain(Policy, "BACKFILL_MIN_GREEN_FRAC", "per dependency", "0.98", "Raises (never lowers) the GREEN fraction that gates ask for."),
    plain(Screen, "NO_COLOR", "unset", "1", "No colour, where it is set and not empty."),
    plain(Screen, "CLICOLOR_FORCE", "unset", "1", "Colour even when the output is not a terminal."),
    plain(Screen, "ACCESSIBLE", "unset", "1", "The plain line-by-line front end, as `--plain`."),
    plain(Screen, "DISPLAY", "set by the desktop", ":0", "Whether `trademl report open` may ask a browser; also WAYLAND_DISPLAY."),
    plain(Screen, "WAYLAND_DISPLAY", "set by the desktop", "wayland-0", "The same."),
    plain(Screen, "TERM", "set by the terminal", "xterm-256color", "`dumb` selects the plain front end."),
    plain(
        Screen,
        "TRADEML_LANG",
        "the locale",
        "de",
        "The language of what people read (`text/<language>.yml` in the configuration folder); English without it.",
    ),
    plain(Screen, "LC_ALL", "unset", "de_AT.UTF-8", "The locale, where `TRADEML_LANG` names no language; before `LC_MESSAGES` and `LANG`."),
    plain(Screen, "LC_MESSAGES", "unset", "de_AT.UTF-8", "The same, before `LANG`."),
    plain(Screen, "LANG", "set by the system", "de_AT.UTF-8", "The same."),
    plain(Screen, "TRADEML_LOG", "info", "debug", "Which log lines are kept (a `tracing` filter)."),
    plain(
        Testing,
        "TRADEML_BASE_URL_*",
        "the vendor's own",
        "TRADEML_BASE_URL_ALPACA_DATA=http://127.0.0.1:9999/alpaca_data",
        "Base URL of a vendor or broker. Plain http only to loopback.",
    ),
    plain(
        Testing,
        "TRADEML_CTRADER_ROOT",
        "this machine's roots",
        "/tmp/sandbox/ctrader_root.pem",
        "The one root certificate to trust where TRADEML_BASE_URL_CTRADER is loopback; ignored anywhere else.",
    ),
    plain(Testing, "TRADEML_CLOCK", "the system's", "2017-11-30T21:00:00Z", "Pins the clock to an instant, or `world`: follows the sandbox."),
    plain(Testing, "TRADEML_MACHINE_ID", "from /etc/machine-id", "00000000000000bb", "Stands in for another machine."),
    plain(Testing, "TRADEML_BOOT_ID", "from /proc", "boot-2", "Stands in for another boot."),
    plain(Testing, "TRADEML_SYSROOT", "/", "/tmp/fake-pi", "Where host detection looks for /proc, /sys, /etc and mounted drives."),
    plain(Testing, "TRADEML_TRACE", "unset", "steps", "`steps`: print STEP and ACK lines on stderr."),
    plain(Testing, "TRADEML_FAILPOINT", "unset", "journal.append.after:3", "Abort at the k-th passage of a named point, or of any point."),
    plain(Testing, "RIG_ACKED", "unset", "/tmp/acked.txt", "A file of ACK lines that `trademl fsck` must find on the drive."),
];

/// The entry of a variable, families included.
pub fn find(name: &str) -> Option<&'static EnvVar> {
    ALL.iter().find(|v| v.name == name).or_else(|| ALL.iter().find(|v| v.name.strip_suffix('*').is_some_and(|prefix| name.starts_with(prefix))))
}

/// Whether a variable's value must never be shown. What the table does not know is a secret.
pub fn is_secret(name: &str) -> bool {
    find(name).is_none_or(|v| v.secret)
}

/// `docs/reference/environment.md`.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Environment variables\n\nGenerated from `data_layer::env_vars`; a test keeps this page equal to the table.\n\n\
         A variable of the process wins over the same one in the secrets file (`$XDG_CONFIG_HOME/trademl/.env`, mode 0600). \
         No `.env` is read from the working directory or from the data drive.\n",
    );
    for scope in [Machine, Keys, Policy, Screen, Testing] {
        out.push_str(&format!("\n## {}\n\n| Variable | Meaning | Default | Example | Secret |\n|---|---|---|---|---|\n", scope.title()));
        for v in ALL.iter().filter(|v| v.scope == scope) {
            out.push_str(&format!("| `{}` | {} | {} | `{}` | {} |\n", v.name, v.meaning, v.default, v.example, if v.secret { "yes" } else { "no" }));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    fn sources(dir: &Path, out: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && entry.file_name() != "target" {
                sources(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push(std::fs::read_to_string(&path).unwrap());
            }
        }
    }

    #[test]
    fn every_variable_that_the_sources_read_is_documented() {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut texts = Vec::new();
        for folder in ["data_layer/src", "src", "wizards"] {
            sources(&top.join(folder), &mut texts);
        }
        let mut missing = BTreeSet::new();
        for text in &texts {
            for after in text.split(".env(\"").skip(1) {
                let name = after.split('"').next().unwrap();
                if find(name).is_none() {
                    missing.insert(name.to_string());
                }
            }
        }
        assert!(missing.is_empty(), "not in env_vars::ALL: {missing:?}");
    }

    #[test]
    fn every_documented_variable_is_read_by_somebody() {
        // Of the time zone's library, of the Makefile, and one that the page says is accepted and does nothing.
        const ELSEWHERE: [&str; 3] = ["TZ", "TRADEML_DEMO_ROOT", "EDGE_SCHEDULER_MODE"];
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut texts = Vec::new();
        for folder in ["data_layer/src", "src", "wizards"] {
            sources(&top.join(folder), &mut texts);
        }
        let read = |name: &str| texts.iter().filter(|t| !t.contains("pub const ALL: &[EnvVar]")).any(|t| t.contains(&format!("\"{name}")));
        let idle: Vec<&str> = ALL.iter().map(|v| v.name.trim_end_matches('*')).filter(|name| !ELSEWHERE.contains(name) && !read(name)).collect();
        assert!(idle.is_empty(), "documented and read by nobody: {idle:?}");
    }

    #[test]
    fn names_are_unique_and_unknown_ones_count_as_secret() {
        let names: BTreeSet<&str> = ALL.iter().map(|v| v.name).collect();
        assert_eq!(names.len(), ALL.len());
        assert!(is_secret("ALPACA_API_KEY") && is_secret("SOMETHING_ELSE"));
        assert!(!is_secret("NODE_MAX_INFLIGHT_ALPACA") && !is_secret("TRADEML_ENV"));
    }

    #[test]
    fn the_reference_page_is_up_to_date() {
        crate::docs::same_or_rewrite("docs/reference/environment.md", &markdown());
    }
}
