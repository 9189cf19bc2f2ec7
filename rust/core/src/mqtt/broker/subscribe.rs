//! SUBSCRIBE and UNSUBSCRIBE.

use super::super::packet::{
    Granted, Reason, RetainHandling, Subscribe, Subscription, Unsubscribe, Version,
};
use super::super::topics;
use super::acks::{self, Need, Pending, RetainedFor};
use super::change::Change;
use super::queue::Ids;
use super::route::Subscriber;
use super::seam::{ConnId, Host};
use super::session::Subscribed;
use super::{Broker, Cx};

impl Broker {
    pub(super) fn on_subscribe<H: Host>(
        &mut self,
        conn: ConnId,
        subscribe: &Subscribe<'_>,
        cx: &mut Cx<'_, H>,
    ) {
        let Some((index, version)) = self
            .links
            .get(conn)
            .map(|link| (link.session, link.version))
        else {
            return;
        };
        let is_shared = |wanted: &Subscription<'_>| {
            topics::parse_filter(wanted.filter).is_some_and(|filter| filter.share.is_some())
        };
        if subscribe
            .filters
            .iter()
            .any(|wanted| wanted.options.no_local && is_shared(wanted))
        {
            // [MQTT-3.8.3-4]
            return self.fault(
                conn,
                Reason::PROTOCOL_ERROR,
                "no local on a shared subscription",
                cx,
            );
        }
        let mut reasons = Vec::with_capacity(subscribe.filters.len());
        let mut retained = Vec::new();
        let mut is_kept = false;
        for wanted in &subscribe.filters {
            let reason =
                match self.subscribe(index, wanted, subscribe.subscription_id, &mut retained) {
                    Ok(kept) => {
                        is_kept |= kept;
                        Reason(wanted.options.qos as u8)
                    }
                    Err(reason) => {
                        self.event_failed(conn, reason, wanted.filter, cx.now);
                        // Older versions know one failure.
                        if version == Version::V5 {
                            reason
                        } else {
                            Reason::UNSPECIFIED
                        }
                    }
                };
            reasons.push(reason);
        }
        let subscribe = acks::Subscribe {
            granted: Granted {
                packet_id: subscribe.packet_id,
                reasons,
            },
            need: self.need_of(is_kept),
            retained,
        };
        self.acknowledge(conn, Pending::Subscribe(Box::new(subscribe)), cx);
    }

    fn need_of(&self, is_kept: bool) -> Need {
        Need {
            kept: if is_kept { self.keep.round } else { 0 },
            mapped: 0,
        }
    }

    /// One filter. Returns whether the store has to keep it.
    fn subscribe(
        &mut self,
        index: u32,
        wanted: &Subscription<'_>,
        id: Option<u32>,
        retained: &mut Vec<RetainedFor>,
    ) -> Result<bool, Reason> {
        let filter = topics::parse_filter(wanted.filter).ok_or(Reason::TOPIC_FILTER_INVALID)?;
        let session = self.sessions.get(index).ok_or(Reason::UNSPECIFIED)?;
        if !session.may_subscribe(filter.filter) {
            return Err(Reason::NOT_AUTHORIZED);
        }
        let is_new = session.position(wanted.filter).is_err();
        if is_new && session.subscriptions.len() >= self.options.subscriptions_per_session {
            return Err(Reason::QUOTA_EXCEEDED);
        }
        let is_recorded = session.is_recorded();
        if is_recorded {
            self.keep.change(Change::Subscribed {
                session: session.id,
                filter: wanted.filter.into(),
                options: wanted.options,
                subscription_id: id,
            });
        }
        self.add_subscription(index, wanted, id.unwrap_or(0));
        let sends_retained = match wanted.options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => is_new,
            RetainHandling::DoNotSend => false,
        };
        // Shared subscriptions get none [MQTT 5.0, 4.8.2].
        if sends_retained && filter.share.is_none() {
            retained.push(RetainedFor {
                filter: filter.filter.into(),
                qos: wanted.options.qos,
                no_local: wanted.options.no_local,
                ids: Ids::One(id.unwrap_or(0)),
            });
        }
        Ok(is_recorded)
    }

    /// Adds or replaces a subscription; the filter is valid.
    pub(super) fn add_subscription(&mut self, index: u32, wanted: &Subscription<'_>, id: u32) {
        let (Some(session), Some(filter)) = (
            self.sessions.get_mut(index),
            topics::parse_filter(wanted.filter),
        ) else {
            return;
        };
        let entry = Subscribed {
            filter: wanted.filter.into(),
            options: wanted.options,
            id,
        };
        let place = session.position(wanted.filter);
        match place {
            Ok(at) => session.subscriptions[at] = entry,
            Err(at) => {
                if session.subscriptions.is_empty() {
                    session.subscriptions.reserve_exact(1);
                }
                session.subscriptions.insert(at, entry);
            }
        }
        let subscriber = Subscriber {
            session: index,
            id,
            options: wanted.options,
        };
        self.router
            .subscribe((filter.share, filter.filter), subscriber, place.is_err());
    }

    pub(super) fn on_unsubscribe<H: Host>(
        &mut self,
        conn: ConnId,
        unsubscribe: &Unsubscribe<'_>,
        cx: &mut Cx<'_, H>,
    ) {
        let Some(index) = self.links.get(conn).map(|link| link.session) else {
            return;
        };
        let mut reasons = Vec::with_capacity(unsubscribe.filters.len());
        let mut is_kept = false;
        for filter in &unsubscribe.filters {
            if topics::parse_filter(filter).is_none() {
                reasons.push(Reason::TOPIC_FILTER_INVALID);
            } else if self.remove_subscription(index, filter) {
                reasons.push(Reason::SUCCESS);
                if let Some(session) = self
                    .sessions
                    .get(index)
                    .filter(|session| session.is_recorded())
                {
                    is_kept = true;
                    self.keep.change(Change::Unsubscribed {
                        session: session.id,
                        filter: (*filter).into(),
                    });
                }
            } else {
                reasons.push(Reason::NO_SUBSCRIPTION_EXISTED);
            }
        }
        let granted = Granted {
            packet_id: unsubscribe.packet_id,
            reasons,
        };
        let pending = Pending::Unsubscribe(Box::new((granted, self.need_of(is_kept))));
        self.acknowledge(conn, pending, cx);
    }

    /// False: there was none.
    pub(super) fn remove_subscription(&mut self, index: u32, text: &str) -> bool {
        let Some(session) = self.sessions.get_mut(index) else {
            return false;
        };
        let Ok(at) = session.position(text) else {
            return false;
        };
        session.subscriptions.remove(at);
        if let Some(filter) = topics::parse_filter(text) {
            self.router.unsubscribe(filter.share, filter.filter, index);
        }
        true
    }
}
