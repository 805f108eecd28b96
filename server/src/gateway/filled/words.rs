//! The few words of a page before its script runs, in the languages that the pages speak. All others are `web/src/text/languages/`.

use axum::http::{HeaderMap, header};

pub struct Words {
    pub code: &'static str,
    pub dir: &'static str,
    pub site: &'static str,
    pub starts: &'static str,
    pub ends: &'static str,
    pub over: &'static str,
    pub needs_script: &'static str,
}

/// English is the first: whoever says nothing gets it, as the programs that make previews of links do.
const ALL: [Words; 7] = [
    Words {
        code: "en",
        dir: "ltr",
        site: "Flash sales",
        starts: "Starts",
        ends: "Ends",
        over: "Over",
        needs_script: "To take part, turn on JavaScript in your browser: this page then follows the sale live.",
    },
    Words {
        code: "de",
        dir: "ltr",
        site: "Verkäufe",
        starts: "Beginn",
        ends: "Ende",
        over: "Vorbei",
        needs_script: "Schalten Sie zum Mitmachen bitte JavaScript in Ihrem Browser ein: Dann folgt diese Seite dem Verkauf live.",
    },
    Words {
        code: "es",
        dir: "ltr",
        site: "Ventas flash",
        starts: "Comienza",
        ends: "Termina",
        over: "Terminada",
        needs_script: "Para participar, activa JavaScript en tu navegador: esta página sigue entonces la venta en directo.",
    },
    Words {
        code: "fr",
        dir: "ltr",
        site: "Ventes flash",
        starts: "Début",
        ends: "Fin",
        over: "Terminée",
        needs_script: "Pour participer, activez JavaScript dans votre navigateur : cette page suit alors la vente en direct.",
    },
    Words {
        code: "ar",
        dir: "rtl",
        site: "عروض خاطفة",
        starts: "يبدأ",
        ends: "ينتهي",
        over: "انتهى",
        needs_script: "للمشاركة يُرجى تفعيل JavaScript في متصفحك: عندها تتابع هذه الصفحة العرض مباشرةً.",
    },
    Words {
        code: "ja",
        dir: "ltr",
        site: "フラッシュセール",
        starts: "開始",
        ends: "終了",
        over: "終了しました",
        needs_script: "参加するには、ブラウザーで JavaScript を有効にしてください。このページがセールの状況をリアルタイムで表示します。",
    },
    Words {
        code: "zh",
        dir: "ltr",
        site: "限时特卖",
        starts: "开始",
        ends: "结束",
        over: "已结束",
        needs_script: "如要参与，请在浏览器中启用 JavaScript：本页将实时显示特卖情况。",
    },
];

/// The language that the reader wants most of those that there are.
pub fn wanted(headers: &HeaderMap) -> &'static Words {
    let accept = headers
        .get(header::ACCEPT_LANGUAGE)
        .and_then(|accept| accept.to_str().ok());
    let mut best = (&ALL[0], 0.0);
    for part in accept.unwrap_or_default().split(',') {
        let mut pieces = part.split(';').map(str::trim);
        let tag = pieces.next().unwrap_or_default();
        let weight = pieces.find_map(|piece| piece.strip_prefix("q=")?.parse().ok());
        let weight: f32 = weight.unwrap_or(1.0);
        let code = tag.split('-').next().unwrap_or_default();
        // The first of those that are wanted as much; Chinese is there in simplified characters only.
        let is_traditional = ["hant", "tw", "hk", "mo"]
            .iter()
            .any(|part| tag.to_lowercase().split('-').any(|its| its == *part));
        let found = ALL.iter().find(|words| words.code.eq_ignore_ascii_case(code));
        match found {
            Some(words) if weight > best.1 && !(words.code == "zh" && is_traditional) => {
                best = (words, weight)
            }
            _ => {}
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_the_one_that_is_wanted_most_of_those_that_there_are() {
        for (accept, code) in [
            ("", "en"),
            ("de-AT,de;q=0.9,en;q=0.8", "de"),
            ("pl,fr;q=0.5,de;q=0.7", "de"),
            ("zh-TW,ja;q=0.3", "ja"),
            ("zh-Hans-CN", "zh"),
            ("AR", "ar"),
            ("*", "en"),
            ("de;q=0", "en"),
            ("de;q=nonsense;;,,", "de"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, accept.parse().expect("a header"));
            assert_eq!(wanted(&headers).code, code, "{accept}");
        }
    }
}
