"""Mail that the node sends (spec: services and status, section 4)."""

from edgelake.net.smtp.client import SmtpClient, SmtpConfig
from edgelake.net.smtp.mail import Mail, mailbox
from edgelake.net.smtp.outbox import Outbox

__all__ = ["Mail", "Outbox", "SmtpClient", "SmtpConfig", "mailbox"]
