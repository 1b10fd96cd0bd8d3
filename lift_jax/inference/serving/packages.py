"""The packages that the service needs besides those of lift_jax."""

from types import ModuleType

from lift_jax.errors import UserError


def require() -> ModuleType:
    """Imports the packages, and gives uvicorn.

    Raises:
        UserError: if one is not installed.
    """
    try:
        import fastapi
        import python_multipart
        import uvicorn

        del fastapi, python_multipart
    except ImportError as error:
        raise UserError(
            f"The service needs the package {error.name}, which is not installed; pip install 'lift-jax[serve]'."
        ) from error
    return uvicorn
