"""What kind of file a container is, for the Content-Type of its bytes."""

# By the name FFmpeg gives the container; it reads mp4 and mov, mkv and webm alike.
MEDIA_TYPES = {
    "mov,mp4,m4a,3gp,3g2,mj2": "video/mp4",
    "matroska,webm": "video/webm",
    "avi": "video/x-msvideo",
    "mpegts": "video/mp2t",
    "mpeg": "video/mpeg",
    "ogg": "video/ogg",
    "flv": "video/x-flv",
    "asf": "video/x-ms-wmv",
}


def media_type(container: str) -> str:
    """A type browsers play; bytes of an unknown kind are only to be saved.

    >>> media_type("avi"), media_type("")
    ('video/x-msvideo', 'application/octet-stream')
    """
    return MEDIA_TYPES.get(container, "application/octet-stream")
