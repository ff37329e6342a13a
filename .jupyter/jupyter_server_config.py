"""For `make lab`: notebooks run at the root of the repository, as the pipeline runs them."""

from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager


class RootForKernels(AsyncLargeFileManager):
    """Starts kernels where the server runs instead of in the notebook's folder."""

    def get_kernel_path(self, path, model=None):
        return ""


get_config().ServerApp.contents_manager_class = RootForKernels  # noqa: F821
