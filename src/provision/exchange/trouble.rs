//! What becomes of a dialogue when an answer is missing, late, or says that the application does not do such a thing.

use super::*;

impl Exchange<'_> {
    pub(super) fn in_doubt(&mut self, now: Timestamp) {
        self.effect = true;
        self.linked = true;
        // The earliest intent stays: an account that an earlier create of ours made is ours.
        let intended = self
            .link
            .uncertain
            .map_or(self.intended, |before| before.intended);
        self.link.uncertain = Some(Uncertain {
            intended,
            sent: now,
        });
        if matches!(self.at, At::Post) {
            self.link.seen_name = mapping::user_name(&self.account()).map(str::to_owned);
        }
    }

    pub(super) fn unavailable(&mut self, detail: String, retry_after: Option<Duration>) -> At {
        match self.at {
            At::ReadNew => At::End(self.unseen()),
            _ => At::End(End::Unavailable {
                detail,
                retry_after,
            }),
        }
    }

    /// Created all the same; only the read after it is missing, which tells whether the account is pending and what was
    /// dropped. Until that was made up for, nothing is written to it.
    pub(super) fn unseen(&mut self) -> End {
        self.link.state = State::Unseen;
        End::Done
    }

    pub(super) fn limited(&mut self, detail: String, wait: Duration) -> At {
        match self.at {
            At::ReadNew => At::End(self.unseen()),
            _ => At::End(End::Limited { detail, wait }),
        }
    }

    pub(super) fn ambiguous(&mut self, detail: String, now: Timestamp) -> At {
        self.in_doubt(now);
        match self.at {
            // Look at once: most often the account is there, and the client can have its answer now.
            At::Post => {
                self.posted = true;
                self.look(Quest::Birth)
            }
            _ => At::End(End::Unknown(detail)),
        }
    }

    /// The application has no such thing. Most of it can be had in another way.
    pub(super) fn unsupported(&mut self, detail: String, now: Timestamp) -> At {
        if !self.application.profile.describes_itself() {
            return self.untaken(detail, now);
        }
        match self.at {
            At::LookUp { quest, .. } if self.walk.is_none() => self.walk(quest),
            At::Put => {
                self.capabilities.puts_attributes = true;
                // Servers are known that carry out the operations before the one that they refuse.
                self.in_doubt(now);
                At::Whole(Change::Attributes)
            }
            At::Activate => {
                self.capabilities.puts_active = true;
                At::Whole(Change::Attributes)
            }
            At::Deactivate => {
                self.capabilities.puts_active = true;
                At::Whole(Change::Deactivation)
            }
            At::ReadBack => At::Put,
            _ => self.untaken(detail, now),
        }
    }

    /// The application does not take it from us: noted on the link, so that it is asked once and not with every change.
    pub(super) fn untaken(&mut self, detail: String, now: Timestamp) -> At {
        if self.at == At::Delete && self.link.state != State::Deactivated {
            self.undeleted = Some(detail);
            return At::Deactivate;
        }
        self.linked = true;
        self.link.untaken = Some(self.note(now));
        At::End(End::Unsupported(match &self.undeleted {
            Some(first) => format!("{first}; and it cannot be deactivated either: {detail}"),
            None => detail,
        }))
    }

    pub(super) fn note(&self, now: Timestamp) -> Untaken {
        Untaken {
            operation: self.act.operation(),
            account: self.act.account().cloned(),
            at: now,
            by: self.application.asked_by.clone(),
        }
    }

    /// It was deactivated, as it was to be or because it could not be deleted.
    pub(super) fn deactivated(&mut self, now: Timestamp) -> At {
        self.effect = true;
        self.link.state = State::Deactivated;
        self.link.uncertain = None;
        // Deactivating voids what was sent: Zoom takes licences away.
        self.link.sent = None;
        let Some(detail) = self.undeleted.take() else {
            return At::End(End::Done);
        };
        self.link.untaken = Some(self.note(now));
        At::End(End::Unsupported(format!(
            "the account was not deleted, and is deactivated instead: {detail}"
        )))
    }
}
