//! What time brings: keep alive, ends of sessions, delayed wills.

use super::super::packet::Reason;
use super::link::Phase;
use super::seam::{ConnId, Host};
use super::timers::Due;
use super::{Broker, Cx};

impl Broker {
    pub(super) fn on_tick<H: Host>(&mut self, cx: &mut Cx<'_, H>) {
        while let Some(due) = self.timers.pop(cx.now.mono_ms) {
            match due {
                Due::KeepAlive(conn) => self.check_keep_alive(conn, cx),
                Due::Will(index) => {
                    if let Some(session) = self.sessions.get_mut(index) {
                        session.will_timer = 0;
                        self.publish_will(index, cx);
                        self.record_session(index);
                    }
                }
                Due::SessionEnd(index) => {
                    if let Some(session) = self.sessions.get_mut(index) {
                        session.end_timer = 0;
                        self.stats.sessions_expired += 1;
                        self.end_session(index, cx);
                    }
                }
            }
        }
        self.check_stalled(cx);
        self.sweep_retained(cx.now.unix_ms);
        self.publish_sys(cx);
    }

    /// The timer is not moved by every packet; when it is due it looks whether there was one [MQTT-3.1.2-22].
    fn check_keep_alive<H: Host>(&mut self, conn: ConnId, cx: &mut Cx<'_, H>) {
        let waits_for_others = self.waits_for_others(conn);
        let Some(link) = self.links.get_mut(conn) else {
            return;
        };
        let waits = waits_for_others || link.phase == Phase::Greeting;
        link.keep_alive_timer = 0;
        if waits {
            link.last_seen_ms = cx.now.mono_ms;
        }
        let until_ms = link.last_seen_ms + link.keep_alive_ms;
        if cx.now.mono_ms < until_ms {
            self.timers
                .set(Due::KeepAlive(conn), &mut link.keep_alive_timer, until_ms);
        } else {
            self.fault(conn, Reason::KEEP_ALIVE_TIMEOUT, "keep alive", cx);
        }
    }
}
