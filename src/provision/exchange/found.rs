//! Accounts that are looked for: pages and filters that find them, misses, and what is made of one that was found.

use super::*;

impl Exchange<'_> {
    /// Looks through the whole list.
    pub(super) fn walk(&mut self, quest: Quest) -> At {
        self.walk = Some(Walk {
            next: 1,
            first: None,
        });
        self.look(quest)
    }

    /// A page of that walk.
    pub(super) fn walked(
        &mut self,
        quest: Quest,
        accounts: Vec<Shown>,
        total: Option<usize>,
        now: Timestamp,
    ) -> At {
        let At::LookUp { names, .. } = self.look(quest) else {
            return self.at.clone();
        };
        let Some(walk) = &mut self.walk else {
            return self.at.clone();
        };
        let first = accounts.first().map(|shown| shown.id.clone());
        let again = first.is_some() && first == walk.first;
        walk.first = first;
        walk.next += accounts.len();
        let seen = walk.next - 1;
        let over = accounts.is_empty() || again || total.is_some_and(|total| seen >= total);
        let found = accounts.into_iter().find(|shown| {
            let name = shown.user_name.as_deref().map(crate::scim::schema::fold);
            name.is_some_and(|name| {
                names
                    .iter()
                    .any(|wanted| crate::scim::schema::fold(wanted) == name)
            })
        });
        match found {
            Some(shown) => At::Claim {
                quest,
                shown: Box::new(shown),
            },
            None if over => self.missed(quest, now),
            None if seen >= scim::WALK => At::End(End::Unavailable {
                detail: format!(
                    "it has no filter that finds an account by its userName, and it is not among the first {} accounts",
                    scim::WALK
                ),
                retry_after: None,
            }),
            None => At::LookUp { quest, names },
        }
    }

    pub(super) fn looked_up(&mut self, quest: Quest, accounts: Vec<Shown>, now: Timestamp) -> At {
        let At::LookUp { names, .. } = &mut self.at else {
            return self.at.clone();
        };
        let asked = names.pop().unwrap_or_default();
        let folded = crate::scim::schema::fold(&asked);
        // Everybody, or the first page of everybody, is no answer to this question.
        let ignored = !accounts.is_empty();
        // A server that ignores the filter must not have us adopt the first account of its list.
        let found = accounts.into_iter().find(|shown| {
            shown
                .user_name
                .as_deref()
                .is_some_and(|name| crate::scim::schema::fold(name) == folded)
        });
        match found {
            Some(shown) => At::Claim {
                quest,
                shown: Box::new(shown),
            },
            None if !names.is_empty() => At::LookUp {
                quest,
                names: std::mem::take(names),
            },
            None if self.distrusts(quest, ignored) => self.walk(quest),
            None => self.missed(quest, now),
        }
    }

    /// Whether a filter's miss is not believed: it was ignored, the application says that it has none, or it says that the
    /// account exists (a filter that minds case, and a uniqueness that does not).
    pub(super) fn distrusts(&self, quest: Quest, ignored: bool) -> bool {
        self.application.profile.describes_itself()
            && (ignored || quest == Quest::Exists || self.capabilities.filter == Some(false))
    }

    pub(super) fn missed(&mut self, quest: Quest, now: Timestamp) -> At {
        let lag = self.application.config.lookup_lag;
        match (quest, self.link.uncertain) {
            (Quest::Birth | Quest::Removal, Some(doubt)) if now < doubt.sent.plus(lag) => {
                At::End(End::Later(doubt.sent.plus(lag)))
            }
            // It exists and is not shown: not visible yet, or not to us.
            (Quest::Exists, _) => {
                self.linked = true;
                let intended = self
                    .link
                    .uncertain
                    .map_or(self.intended, |before| before.intended);
                self.link.uncertain = Some(Uncertain {
                    intended,
                    sent: now,
                });
                // A removal that comes before it is found has no other name to look for.
                self.link.seen_name = mapping::user_name(&self.account())
                    .map(str::to_owned)
                    .or(self.link.seen_name.take());
                At::End(End::Later(now.plus(lag)))
            }
            (Quest::Removal, _) if self.link.state == State::Pending => At::End(End::Pending(
                String::from("the account is pending and cannot be taken away yet"),
            )),
            (Quest::Removal, _) => {
                self.linked = false;
                At::End(End::Done)
            }
            (Quest::Birth, _) if self.link.state == State::Pending => {
                At::End(End::Pending(String::from("the account is pending")))
            }
            (Quest::Birth | Quest::Drift, _) => {
                if self.posted {
                    return At::End(End::Later(now.plus(lag.max(Duration::from_secs(1)))));
                }
                if !self.application.config.users.create {
                    self.linked = false;
                    return At::End(End::Refused {
                        status: 404,
                        detail: String::from(
                            "the account is gone there, and creating accounts is switched off",
                        ),
                        uniqueness: false,
                    });
                }
                self.link.uncertain = None;
                self.link.state = State::Unborn;
                self.link.remote_id = None;
                self.link.fresh = false;
                self.linked = false;
                self.operation = Operation::Create;
                At::Post
            }
        }
    }

    pub(super) fn born(&mut self, shown: Shown) -> At {
        self.effect = true;
        self.posted = true;
        self.linked = true;
        self.link.remote_id = Some(shown.id.clone());
        self.link.state = State::Active;
        self.link.origin = Origin::Created;
        self.link.fresh = false;
        self.written();
        if self.application.profile.create_reply_is_complete() {
            self.seen(&self.account(), &shown);
            return At::End(End::Done);
        }
        self.link.seen_name = shown.user_name;
        At::ReadNew
    }

    /// An account was found and nobody else holds it.
    pub(super) fn found(&mut self, quest: Quest, shown: Shown) -> At {
        let protected = &self.application.config.safety.protected;
        if shown
            .user_name
            .as_deref()
            .is_some_and(|name| scope::protected(protected, name))
        {
            self.linked = false;
            return At::End(End::Protected);
        }
        let doubt = self.link.uncertain;
        let ours = match (doubt, shown.created) {
            // An account older than the intent was found, not created. Applications show whole seconds.
            (Some(doubt), Some(created)) => created.0 / 1000 >= doubt.intended.0 / 1000,
            (Some(_), None) => false,
            (None, _) => false,
        };
        let taking = quest == Quest::Removal;
        let linked_before = quest != Quest::Drift && self.linked && doubt.is_none();
        if !ours && !linked_before && !self.application.config.adopt {
            self.linked = false;
            self.link.uncertain = None;
            if taking {
                // Somebody else's account: not ours to take away, and ours never came to be.
                return At::End(End::Done);
            }
            return At::End(End::Refused {
                status: 409,
                detail: String::from(
                    "an account of this name exists, and adopting is switched off",
                ),
                uniqueness: true,
            });
        }
        self.linked = true;
        self.link.uncertain = None;
        self.link.remote_id = Some(shown.id.clone());
        self.link.sent = None;
        let pending = self.link.state == State::Pending;
        self.link.state = if shown.active == Some(false) {
            State::Deactivated
        } else {
            State::Active
        };
        if ours {
            self.link.origin = Origin::Created;
        } else if !linked_before || pending {
            self.link.origin = Origin::Adopted;
            self.link.fresh = true;
            self.operation = Operation::Adopt;
        }
        self.link.seen_name = shown.user_name;
        match self.act {
            Act::Delete => At::Delete,
            Act::Deactivate if self.link.state == State::Deactivated => At::End(End::Done),
            Act::Deactivate => At::Deactivate,
            _ if self.link.state == State::Deactivated => At::Activate,
            _ => At::Put,
        }
    }

    /// An uncertain (or pending) link was read back.
    pub(super) fn read_back(&mut self, shown: &Shown) -> At {
        let account = self.account();
        // Nothing was written to it since its create, which was acknowledged.
        let sent = self.link.sent.as_ref();
        let acknowledged = matches!(self.link.state, State::Unseen | State::Pending)
            && self.link.uncertain.is_none()
            && sent.is_some_and(|sent| self.application.mapping.same(sent, &account));
        self.link.seen_name = shown.user_name.clone();
        if shown.active == Some(false) {
            self.link.uncertain = None;
            self.link.state = State::Deactivated;
            self.link.sent = None;
            return At::Activate;
        }
        self.link.state = State::Active;
        if acknowledged {
            self.effect = true;
            self.seen(&account, shown);
            return At::End(End::Done);
        }
        // What a read does not show cannot be told from what was lost: then it is written again.
        let all_shown = account
            .keys()
            .all(|key| self.application.profile.shows(key));
        if all_shown && profile::dropped(self.application.profile, &account, shown).is_empty() {
            self.written();
            return At::End(End::Done);
        }
        // In doubt until that is done: what was sent last is not what stands there, and this may end before it is written.
        if self.capabilities.rewrites_attributes() {
            return At::Rewrite(Change::Attributes, shown.attributes.clone());
        }
        At::Put
    }
}
