/* A library with a manifest and without create_plugin. */
#include "pluginapi.h"

PA_MANIFEST({"name": "test.no-symbol", "version": "1.0.0", "author": "The probe authors"});
