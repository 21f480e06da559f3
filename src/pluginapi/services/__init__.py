"""Services: live objects of the host that plugins call by name, method by method as granted."""

from pluginapi.services.client import AsyncService, Service
from pluginapi.services.grants import ServiceGrants
from pluginapi.services.method import MAX_SERVICE_BYTES
from pluginapi.services.names import MAX_SERVICE_METHODS
from pluginapi.services.table import MAX_SERVICES, ServiceStats, calling_plugin

__all__ = [
    "MAX_SERVICES",
    "MAX_SERVICE_BYTES",
    "MAX_SERVICE_METHODS",
    "AsyncService",
    "Service",
    "ServiceGrants",
    "ServiceStats",
    "calling_plugin",
]
