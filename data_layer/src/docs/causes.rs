//! What leads to each error code, and what to look at first.

use crate::error::{Code, code};

/// Two sentences: how one gets here, and the first thing to look at.
pub(super) fn of(wanted: &Code) -> (&'static str, &'static str) {
    TABLE.iter().find(|(c, ..)| *c == *wanted).map_or(("", ""), |(_, leads, first)| (leads, first))
}

const TABLE: &[(Code, &str, &str)] = &[
    (
        code::USE_ARGUMENT,
        "An argument has a form, a name or a value that the command does not know.",
        "Compare with `trademl COMMAND --help`; the line `found` shows what was read.",
    ),
    (
        code::USE_ANSWER_MISSING,
        "A question without an answer was reached where nobody can be asked: no terminal, `--no-input`, `--json`, or an answers file without it.",
        "Each line `fix` is one way to answer it; `--yes` accepts the defaults.",
    ),
    (
        code::USE_ANSWER_INVALID,
        "A flag, a variable or an answers file gives a value that the same question would not accept at a terminal.",
        "`trademl WIZARD --questions` prints what each question accepts.",
    ),
    (
        code::USE_ANSWER_UNUSED,
        "An id in `--set` or in the answers file belongs to no question of this run: a typing error, or a question that the other answers made unnecessary.",
        "Look the id up in `trademl WIZARD --questions`.",
    ),
    (
        code::USE_NO_RUN,
        "The id belongs to no run of this drive, to several, or to one that cannot be continued or taken back.",
        "`trademl runs list` shows every run with its id.",
    ),
    (code::USE_PAUSED, "Somebody left with `:save`, chose to leave, or the input ended.", "Run the same command when you are ready."),
    (code::USE_INTERRUPTED, "Ctrl-C, or a terminal that was closed.", "Run the same command: it begins with what was in doubt."),
    (
        code::USE_TERMINATED,
        "The system, a supervisor or `kill` asked the program to stop.",
        "Run the same command; for a service look at `journalctl --user -u trademl-node`.",
    ),
    (
        code::CFG_PARSE,
        "A configuration or answers file is not the YAML or JSON that it should be.",
        "The error names file and line; quotes, tabs and indentation are the usual reasons.",
    ),
    (
        code::CFG_UNKNOWN_KEY,
        "A key or a name in a configuration file is none that this version knows.",
        "Compare its spelling with `trademl config show --origin`.",
    ),
    (code::CFG_VALUE, "A value is outside what can work, alone or together with another one.", "The error names the key and the range."),
    (
        code::CFG_STAGE_DAMAGED,
        "`control/stage.yml` was edited by hand, or torn by a power cut: its digest is not that of its lines.",
        "`trademl doctor` names the command that puts it right; a stage is changed with `trademl pi-data-node`.",
    ),
    (
        code::CFG_DATASET_MIXED,
        "Practice and real data, or a practice drive and a real account, were to be mixed.",
        "One drive belongs to one market for ever: choose another `--root` for the other one.",
    ),
    (
        code::SSD_NO_ROOT,
        "The folder holds no data root: another path, a drive that is mounted elsewhere, or nothing was set up yet.",
        "`trademl doctor` shows the drives of this machine; `trademl pi-data-node` sets one up.",
    ),
    (code::SSD_IS_CHECKOUT, "The folder lies inside a checkout of this program's source.", "Choose a folder outside it with `--root`."),
    (
        code::SSD_NOT_MOUNTED,
        "The path is a mount point and nothing is mounted on it: writing there would fill the system's own disk.",
        "`lsblk -f` shows whether the drive is there; then mount it as printed.",
    ),
    (
        code::SSD_FILESYSTEM,
        "exFAT, NTFS and network shares lose renames, file modes or flushes, so a power cut could tear files unnoticed.",
        "Use ext4, xfs or btrfs on a drive of its own.",
    ),
    (
        code::SSD_READ_ONLY,
        "The file system is mounted read-only: by choice, or by the kernel after an error of the drive.",
        "`dmesg | tail` first; only then mount it for writing again.",
    ),
    (
        code::SSD_FULL,
        "No room was left for a file; what was being written was given up whole.",
        "`df -h` on the drive; `trademl status` says what the data will take.",
    ),
    (
        code::SSD_IO,
        "The kernel reported an error while reading or writing: cable, power, or a dying drive.",
        "`dmesg | tail` and `smartctl -a DEVICE`; copy the drive before anything else.",
    ),
    (
        code::SSD_PATH,
        "A name or a path cannot stand on the drive: it leaves the data root, or holds signs that not every file system takes.",
        "The error shows the name; a symbol list is the usual source.",
    ),
    (
        code::SSD_DAMAGED,
        "A file is not what was written, seen by its digest or its form.",
        "`trademl fsck` names every such file; `trademl node audit --full` mends what can be asked for again.",
    ),
    (
        code::SSD_HELD,
        "Another wizard, a node or a service of this machine, or another machine's heartbeat, is using the drive.",
        "The error says who; stop that one, or wait until it is done.",
    ),
    (
        code::SSD_TAKEN_OVER,
        "Another machine attached this drive with `--take-over` while this program was at work.",
        "Continue on that machine; here nothing more is written.",
    ),
    (code::SSD_NEWER, "A newer version has written this drive's databases.", "Update the program on this machine; an older one never writes to a newer drive."),
    (
        code::SSD_CHAIN,
        "A record of the journal was changed, lost or added from outside: its hash does not follow.",
        "`trademl runs recover` keeps the damaged journal aside and goes on from what follows.",
    ),
    (
        code::SSD_DATABASE,
        "SQLite refused a call on a control database: rights, locks, or a file that is not its own.",
        "`trademl doctor` looks at every database.",
    ),
    (
        code::HOST_CLOCK,
        "The clock differs from what vendors say, was set while the program ran, or is before this program was made or what the drive holds: a Pi without a network after a power cut.",
        "`timedatectl` shows whether the clock is synchronised; the node's service goes on by itself when it is.",
    ),
    (
        code::HOST_TERMINAL,
        "Something wanted to ask or draw, and standard input or output is no terminal.",
        "Give the answers by flags or a file, or run it at a terminal.",
    ),
    (
        code::HOST_SYSTEM,
        "The operating system refused a call: a file that is not there, rights, limits.",
        "The line `cause` holds its own words, with the path.",
    ),
    (
        code::NET_UNREACHABLE,
        "No answer from a vendor, a broker or the network.",
        "`trademl doctor` tries each host; a work queue goes on by itself when they are back.",
    ),
    (
        code::NET_RATE_LIMITED,
        "A vendor's limit, or the budget that keeps below it, is used up.",
        "`trademl status` says when it opens again; nothing has to be done.",
    ),
    (
        code::NET_MALFORMED,
        "A vendor answered, but not in its own format: a changed interface, or a page of a proxy in between.",
        "The answer is kept below `raw/_quarantine` with the reason.",
    ),
    (
        code::NET_FORBIDDEN_HOST,
        "A key or an order would have left this machine unencrypted, or a practice drive would have spoken to the real world.",
        "Use an https address.",
    ),
    (
        code::KEY_MISSING,
        "A step needs a key that this machine does not have.",
        "`trademl pi-data-node` asks for the keys of vendors, `trademl paper-trade` for those of a broker.",
    ),
    (
        code::KEY_REJECTED,
        "The vendor knows the key no more, or it was pasted with something missing.",
        "Log in at the vendor, copy the key again, and enter it with the wizard.",
    ),
    (
        code::KEY_FILE_MODE,
        "Keys would have been written where others can read them: a file system without modes, or a data drive.",
        "Keep the configuration folder on the machine's own disk.",
    ),
    (
        code::KEY_NOT_ENTITLED,
        "The key is valid and its plan does not include this data.",
        "`trademl coverage` says which dataset stays closed, and what it means for the rest.",
    ),
    (
        code::GATE_REFUSED,
        "Words that only a person can type were not given, or not exactly.",
        "Run it at a terminal and read what is shown, or give the printed `--confirm`.",
    ),
    (
        code::GATE_GREEN,
        "The data of a window are not complete, audited and of the last session.",
        "`trademl node once` fetches and judges; `trademl coverage` says what is missing and why.",
    ),
    (
        code::GATE_LEAK,
        "A control that must not work did: shuffled labels or shifted features still scored.",
        "The report names the control; look for a feature that knows the future.",
    ),
    (
        code::GATE_HURDLES,
        "The model was measured and does not reach a bar that is in the configuration.",
        "The tear sheet lists every bar with the value; another model, not another look, is the way on.",
    ),
    (
        code::GATE_KILL_SWITCH,
        "Increases are stopped for this account: by a person, by `control/STOP`, or after a take-over.",
        "`trademl paper status` says why, and prints the command that lets them pass again.",
    ),
    (code::DATA_MISSING, "Something that a step needs was never fetched, made or sealed on this drive.", "`trademl coverage`, then `trademl node once`."),
    (
        code::DATA_CONFLICT,
        "Two records of one fact differ: the same day computed twice with other inputs, or two bars for one session.",
        "`trademl fsck`; a fact that was recorded is never overwritten.",
    ),
    (code::QC_FAILED, "Stored prices contradict themselves or the calendar.", "`trademl node report` shows the finding; `trademl node audit` judges again."),
    (
        code::ML_UNDEFINED,
        "A statistic has no value for this input: too few observations, no variance, a drawdown of zero.",
        "The error names the statistic; a longer window or more trades give it one.",
    ),
    (code::ML_TRAIN, "The learner itself gave up.", "The log holds its own words; send it with the configuration."),
    (
        code::ML_ARTIFACT,
        "A model's file is not the one that was registered, or has other features than the program makes.",
        "`trademl doctor` compares every file of the champion; train again if one is lost.",
    ),
    (
        code::ML_NO_CHAMPION,
        "No model of this strategy was trained, or none was promoted.",
        "`trademl model list`, then `trademl train` and `trademl evaluate`.",
    ),
    (
        code::ORD_REFUSED,
        "A limit of this program, the account or the broker's rules forbid the order or the set.",
        "The line `cause` names the rule; `trademl paper status` shows switches and open orders.",
    ),
    (
        code::ORD_UNKNOWN,
        "An order was sent and no answer came: it may be at the broker or not.",
        "Run `trademl paper-trade` again; it asks by the order's id and never sends it twice.",
    ),
    (
        code::ORD_HALT,
        "The broker holds an order under our id with another content.",
        "Look at the order at the broker; nothing more is sent until it is explained.",
    ),
    (code::ORD_LIVE, "The keys or the address belong to a live account.", "Use the keys of the paper or demo account."),
    (
        code::SVC_BIND,
        "The address is taken, is not this machine's, or needs a token.",
        "`ss -ltnp` shows who listens; another port goes with `--set serve.address=127.0.0.1:8002`.",
    ),
    (code::SVC_REQUEST, "A caller sent something that the interface does not define.", "`docs/reference/openapi.json` is the interface."),
    (
        code::BUG,
        "The program met a state that it holds to be impossible.",
        "Send the log that the error names; the drive is as the last finished step left it.",
    ),
    (code::BUG_CRASH_POINT, "A variable for tests (`TRADEML_FAILPOINT`) asked for a crash.", "Unset it: docs/testing-hooks.md."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_says_what_leads_to_it_and_what_to_look_at() {
        for wanted in code::ALL {
            let (leads, first) = of(wanted);
            assert!(leads.ends_with('.') && first.ends_with('.'), "{} is not explained", wanted.id);
        }
        assert_eq!(TABLE.len(), code::ALL.len());
    }
}
