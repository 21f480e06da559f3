/* Methods of C for a subclass in Python: the interpreter's fast path for them wants the very class
 * that the descriptor belongs to, so the subclass gets descriptors of its own. */
#ifndef PLUGINAPI_ADOPT_H
#define PLUGINAPI_ADOPT_H

#include <Python.h>

static int pa_adopt(PyObject *type, PyObject *base, const char *name) {
    PyObject *const inherited = PyObject_GetAttrString(base, name);
    PyObject *own;
    int failed;
    if (inherited == NULL) {
        return -1;
    }
    if (!Py_IS_TYPE(inherited, &PyMethodDescr_Type)) {
        Py_DECREF(inherited);
        PyErr_SetString(PyExc_TypeError, "not a method of C");
        return -1;
    }
    own = PyDescr_NewMethod((PyTypeObject *)type, ((PyMethodDescrObject *)inherited)->d_method);
    Py_DECREF(inherited);
    if (own == NULL) {
        return -1;
    }
    failed = PyObject_SetAttrString(type, name, own);
    Py_DECREF(own);
    return failed;
}

#endif
