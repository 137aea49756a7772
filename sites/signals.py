"""What the apps above this one can listen to.

All are sent with `send_robust` once the transaction has been committed, so a listener finds the rows
there, and one that fails spoils neither the sync nor the others. A process may die between the commit
and the signal: who must not miss anything takes a signal as a hint to look, and looks by itself too.
"""

from django.dispatch import Signal

#: incident_ids: a list, of Incident. An incident that opens and closes at once is in both.
incident_opened = Signal()
incident_closed = Signal()

#: site_ids: a list, of the MonitoredSites whose attempts have been written, failed ones too.
sites_synced = Signal()
