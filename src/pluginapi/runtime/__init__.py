"""Live plugins: what a verified file becomes, one module for each kind of plugin."""
