"""One async function a use case; what it needs comes as arguments."""
